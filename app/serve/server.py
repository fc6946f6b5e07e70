"""Serves one cell: uvicorn with our framing, and a stop that drains before it closes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import structlog
import uvicorn
from litestar import Litestar

from app.data_folder import DataFolder
from app.errors import CrossfadeError, StoreUnavailable
from app.gateway.connection import Connection
from app.gateway.connection_registry import ConnectionRegistry
from app.gateway.draining import drain
from app.gateway.http_connection import HttpConnection
from app.logs import configure_logging
from app.process_title import set_process_title
from app.serve.asgi import create_app
from app.serve.descriptors import connection_limits, raise_descriptor_limit
from app.serve.listening import bind
from app.serve.local_socket import LocalSocket
from app.serve.names import cell_names
from app.serve.service import Service
from app.serve.signals import Signals
from app.serve.startable import words_of_start
from app.settings import Settings
from rollout.names import STABLE

BACKLOG = 4096
ACCEPTED_AT_ONCE = 64
"""Connections that asyncio accepts before it tells us of one; far fewer than there are spare descriptors."""
LOCAL_BACKLOG = 64
FRAMING_FACTOR = 8
"""A frame of up to this many times a message's limit is answered `too_large`; a larger one closes the socket (1009)."""
ANSWER_S = 2.0
"""During a stop, after the drain, answers may take so long to reach their readers; then the connections are cut."""
CANCEL_S = 5
"""After this uvicorn cancels the handlers that are left, and logs each as an error: none should be."""
log = structlog.get_logger()


class CellServer(uvicorn.Server):
    """uvicorn that starts its service first, and drains before it closes sockets (1012), not at once."""

    def __init__(self, service: Service, signals: Signals, ready: Callable[[Service], Awaitable[None]]) -> None:
        self._app = create_app(service)
        self._loop = asyncio.get_running_loop()
        self._registry = ConnectionRegistry(connection_limits(service.settings), self._loop)
        super().__init__(_config(service.settings, self._app, self._registry))
        self._service = service
        self._signals = signals
        self._ready = ready
        self._woken = asyncio.Event()
        self._hangups = 0
        self._local: LocalSocket | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """By our own handlers, which are there from the first moment of the process on."""
        self._signals.tell(self._signalled)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if not await self._start_service():
            return
        await super().startup(sockets)
        await self._open_local_socket()
        for listener in sockets or ():
            listener.listen(BACKLOG)
        # What start-up made stays, so the collector need not walk it on every pass.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await self._ready(self._service)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self._local is not None:
            self._local.close()
        if not self.force_exit:
            await drain(self._service.cell, self._service.settings.shutdown_s, lambda: self.force_exit)
        self._service.end_streams()  # an open page would hold the stop for as long as uvicorn waits for answers
        cut = self._loop.call_later(0.0 if self.force_exit else ANSWER_S, self._cut_connections)
        await super().shutdown(sockets)
        cut.cancel()
        await self._service.stop()

    async def _open_local_socket(self) -> None:
        """Serve the same application to the commands of this host, but no WebSockets; without it they use TCP."""
        settings = self._service.settings
        try:
            self._local = LocalSocket(Path(settings.data), self._service.cell.name)
        except OSError as error:
            log.warning("no local socket for the commands of this host: they use TCP", error=str(error))
            return
        config = _config(settings, self._app, self._registry, ws="none")
        config.load()
        protocol = partial(HttpConnection, config, self.server_state, self.lifespan.state, registry=self._registry)
        listening = await self._loop.create_unix_server(protocol, sock=self._local.listener, backlog=LOCAL_BACKLOG)
        self.servers.append(listening)

    def _cut_connections(self) -> None:
        """End the answers to whoever does not read them; a handler that sends to nobody ends by itself."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpConnection):
                connection.pipeline.clear()  # uvicorn would answer these too, to nobody
            connection.transport.abort()

    async def _start_service(self) -> bool:
        """Start the service; False: a stop was asked for first, and it has ended again."""
        starting = asyncio.create_task(self._service.start())
        while not (starting.done() or self.should_exit):
            waking = asyncio.create_task(self._woken.wait())
            await asyncio.wait((starting, waking), return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            self._woken.clear()
        if starting.done() and not self.should_exit:
            starting.result()
            return True
        starting.cancel()
        await asyncio.wait((starting,))  # what it may have failed with is part of the end
        await self._service.stop()
        return False

    def _signalled(self) -> None:
        """A planned stop begins with the signal: the deaths that follow are no crashes."""
        if self._signals.stopping:
            self._service.expect_end()
            self.should_exit = True
            self.force_exit = self._signals.at_once
        with contextlib.suppress(RuntimeError):  # the loop may have ended
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._woken.set()
        if self._signals.hangups > self._hangups:
            self._hangups = self._signals.hangups
            log.info("SIGHUP changes nothing: settings are read at the start")


def run(settings: Settings, folder: DataFolder) -> int:
    """Serve as the only cell until a signal. Returns the exit code. `folder` is the settings', and owned."""
    signals = Signals()
    signals.hear()
    set_process_title(f"gateway {cell_names(settings, 1)[0]}")
    configure_logging(settings.log_level)
    try:
        listener = bind(settings)
    except OSError as error:
        return _refuse(str(error))
    return serve(settings, lambda: Service(settings, folder), listener, signals, greet)


def serve(
    settings: Settings,
    make: Callable[[], Service],
    listener: socket.socket,
    signals: Signals,
    ready: Callable[[Service], Awaitable[None]],
) -> int:
    """Serve on a bound socket until a signal; `ready` is called when sockets are accepted. Returns the exit code.

    `make` is called in the event loop.
    """
    # At "info" uvicorn writes a line for every connection; we log nothing per connection or message.
    logging.getLogger("uvicorn").setLevel(logging.DEBUG if settings.log_level == "debug" else logging.WARNING)
    raise_descriptor_limit(settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        status = runner.run(_serve(settings, make, listener, signals, ready))
        signals.over()
        return status


async def _serve(
    settings: Settings,
    make: Callable[[], Service],
    listener: socket.socket,
    signals: Signals,
    ready: Callable[[Service], Awaitable[None]],
) -> int:
    try:
        service = make()
        server = CellServer(service, signals, ready)
        await server.serve(sockets=[listener])
    except (CrossfadeError, OSError) as error:
        return _refuse(words_of_start(settings, STABLE, error))
    return 0 if server.started or signals.stopping else 1


def _config(
    settings: Settings, app: Litestar, registry: ConnectionRegistry, ws: type[Connection] | Literal["none"] = Connection
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws=ws,
        ws_max_size=settings.message_bytes * FRAMING_FACTOR,
        ws_ping_interval=settings.heartbeat_s,
        ws_ping_timeout=settings.heartbeat_s,
        ws_per_message_deflate=False,
        http=partial(HttpConnection, registry=registry),  # type: ignore[arg-type]  # uvicorn only calls it
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=ACCEPTED_AT_ONCE,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CANCEL_S,
    )


def _refuse(why: str) -> int:
    print(f"crossfade: {why}", file=sys.stderr)  # noqa: T201
    return 1


async def greet(service: Service) -> None:
    """Print where to look and how to sign in, for whoever started the service by hand."""
    base, root = f"http://{service.settings.bind}", service.settings.root_path
    try:
        link = await service.access.make_link(base)
    except StoreUnavailable:
        link = f"{base}{root}/ (sign in with a token: the store does not answer)"
    with contextlib.suppress(OSError):  # nobody reads it any more, which stops no service
        print(  # noqa: T201 - the one thing it says on standard output
            f"Crossfade serves WebSockets at ws://{service.settings.bind}{root}/ws\n"
            f"Dashboard, signed in (this link is good once): {link}\n"
            f"Later: {base}{root}/ and `crossfade token --role manager`. Stop with Ctrl-C.",
            flush=True,
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
