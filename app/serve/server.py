"""Serves one cell: uvicorn with our framing, and a stop that drains before it closes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import uvicorn

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
from app.serve.names import cell_names
from app.serve.service import Service
from app.settings import Settings

BACKLOG = 4096
ACCEPTED_AT_ONCE = 64
"""Connections that asyncio accepts before it tells us of one; far fewer than there are spare descriptors."""
FRAMING_FACTOR = 8
"""A frame of up to this many times a message's limit is answered `too_large`; a larger one closes the socket (1009)."""


class CellServer(uvicorn.Server):
    """uvicorn that starts its service first, and drains before it closes sockets (1012), not at once."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[Service], Awaitable[None]]) -> None:
        super().__init__(config)
        self._service = service
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.start()
        await super().startup(sockets)
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
        if not self.force_exit:
            await drain(self._service.cell, self._service.settings.shutdown_s)
        self._service.end_streams()  # an open page would hold the stop for as long as uvicorn waits for answers
        await super().shutdown(sockets)
        await self._service.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A planned stop ends with exit code 0; a second signal stops without draining.
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


def run(settings: Settings, ready: Callable[[Service], None] | None = None) -> int:
    """Serve as the only cell until a signal; `ready` is called when sockets are accepted. Returns the exit code."""
    set_process_title(f"gateway {cell_names(settings, 1)[0]}")
    configure_logging(settings.log_level)
    try:
        listener = bind(settings)
    except OSError as error:
        return _refuse(str(error))

    async def on_ready(service: Service) -> None:
        await greet(service)
        if ready is not None:
            ready(service)

    return serve(settings, lambda: Service(settings), listener, on_ready)


def serve(
    settings: Settings,
    make: Callable[[], Service],
    listener: socket.socket,
    ready: Callable[[Service], Awaitable[None]],
) -> int:
    """Serve on a bound socket until a signal; `ready` is called when sockets are accepted. Returns the exit code.

    `make` is called in the event loop.
    """
    # At "info" uvicorn writes a line for every connection; we log nothing per connection or message.
    logging.getLogger("uvicorn").setLevel(logging.DEBUG if settings.log_level == "debug" else logging.WARNING)
    raise_descriptor_limit(settings)
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, make, listener, ready))
    return 0


async def _serve(
    settings: Settings,
    make: Callable[[], Service],
    listener: socket.socket,
    ready: Callable[[Service], Awaitable[None]],
) -> int:
    try:
        service = make()
        server = CellServer(_config(settings, service), service, ready)
        await server.serve(sockets=[listener])
    except (CrossfadeError, OSError) as error:
        return _refuse(str(error))
    return 0 if server.started else 1


def _config(settings: Settings, service: Service) -> uvicorn.Config:
    registry = ConnectionRegistry(connection_limits(settings), asyncio.get_running_loop())
    return uvicorn.Config(
        create_app(service),
        ws=Connection,
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
        timeout_graceful_shutdown=5,
    )


def _refuse(why: str) -> int:
    print(f"crossfade: {why}", file=sys.stderr)  # noqa: T201
    return 1


async def greet(service: Service) -> None:
    """Print where to look and how to sign in, for whoever started the service by hand."""
    base = f"http://{service.settings.bind}"
    try:
        link = await service.access.make_link(base)
    except StoreUnavailable:
        link = f"{base}/ (sign in with a token: the store does not answer)"
    print(  # noqa: T201 - the one thing it says on standard output
        f"Crossfade serves WebSockets at ws://{service.settings.bind}/ws\n"
        f"Dashboard, signed in (this link is good once): {link}\n"
        f"Later: {base}/ and `crossfade token --role manager`. Stop with Ctrl-C.",
        flush=True,
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
