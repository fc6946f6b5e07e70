"""The process of one cell: uvicorn with our framing, and a stop that drains before it closes.

Knows sockets, signals and uvicorn; what is served is `app.serve.asgi`.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn

from app.errors import CrossfadeError, StoreUnavailable
from app.gateway.draining import drain
from app.gateway.framing import Connection, Upgradable
from app.logs import configure_logging
from app.serve.asgi import create_app
from app.serve.listening import bind
from app.serve.service import Service
from app.settings import Settings

BACKLOG = 4096
FRAMING_FACTOR = 8
"""A frame this many times larger than a message may be is answered `too_large`; beyond it the socket closes (1009)."""
SPARE_DESCRIPTORS = 200


class CellServer(uvicorn.Server):
    """uvicorn closes every socket with 1012 at once; this one stops listening and drains first."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[Service], Awaitable[None]]) -> None:
        super().__init__(config)
        self._service = service
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What start-up made stays; the collector need not walk it on every pass.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await self._ready(self._service)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if not self.force_exit:
            await drain(self._service.cell, self._service.settings.shutdown_s)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A planned stop ends with exit code 0; a second signal stops without draining.
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


def run(settings: Settings, ready: Callable[[Service], None] | None = None) -> int:
    """Serve as the only cell until a signal ends it; `ready` is called when sockets are accepted. The exit code."""
    configure_logging(settings.log_level)
    try:
        listener = bind(settings)
        service = Service(settings)
    except (CrossfadeError, OSError) as error:
        print(f"crossfade: {error}", file=sys.stderr)  # noqa: T201
        return 1

    async def on_ready(service: Service) -> None:
        await greet(service)
        if ready is not None:
            ready(service)

    return serve(service, listener, on_ready)


def serve(service: Service, listener: socket.socket, ready: Callable[[Service], Awaitable[None]]) -> int:
    """Serve on a bound socket until a signal ends it; `ready` is called when sockets are accepted. The exit code."""
    settings = service.settings
    # uvicorn writes lines for every connection at "info"; ours says nothing per connection or message.
    logging.getLogger("uvicorn").setLevel(logging.DEBUG if settings.log_level == "debug" else logging.WARNING)
    raise_descriptor_limit(settings)
    config = uvicorn.Config(
        create_app(service),
        ws=Connection,
        ws_max_size=settings.message_bytes * FRAMING_FACTOR,
        ws_ping_interval=settings.heartbeat_s,
        ws_ping_timeout=settings.heartbeat_s,
        ws_per_message_deflate=False,
        loop="uvloop" if _has_uvloop() else "asyncio",
        http=Upgradable,
        lifespan="on",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    server = CellServer(config, service, ready)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0 if server.started else 1


async def greet(service: Service) -> None:
    """Where to look and how to sign in, for whoever started it by hand."""
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


def raise_descriptor_limit(settings: Settings) -> None:
    """One descriptor a socket: take what the machine allows, and say when it is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_sessions + SPARE_DESCRIPTORS
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        if allowed < wanted:
            print(  # noqa: T201
                f"crossfade: {allowed} file descriptors are enough for about {allowed - SPARE_DESCRIPTORS} sockets, "
                f"CROSSFADE_MAX_SESSIONS is {settings.max_sessions}; raise it with ulimit -n",
                file=sys.stderr,
            )


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True
