"""A reverse proxy that shows a service under a path, as nginx does: with the path removed, or passed on as it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HEAD_BYTES = 65_536
PATIENCE_S = 10.0


class PrefixProxy:
    """One connection of the service for each of a client's requests; upgrades and streams pass through."""

    def __init__(self, port: int, prefix: str, *, strip: bool) -> None:
        self.port = 0
        """Its own, when it runs."""
        self.missed: list[str] = []
        """Addresses that were asked for outside the prefix."""
        self._service = port
        self._prefix = prefix
        self._strip = strip

    @property
    def base(self) -> str:
        return f"127.0.0.1:{self.port}{self._prefix}"

    async def serve(self, running: threading.Event, stop: asyncio.Event) -> None:
        served: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve_client(reader, writer))
            served.add(task)
            task.add_done_callback(served.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        running.set()
        await stop.wait()
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        await asyncio.sleep(0)  # sockets are closed in the next turn

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, _, rest = head.partition("\r\n")
            method, target, version = first.split(" ")
            if target != self._prefix and not target.startswith(f"{self._prefix}/"):
                self.missed.append(target)
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            passed = (target.removeprefix(self._prefix) or "/") if self._strip else target
            await self._pass_on(f"{method} {passed} {version}\r\n{_once(rest)}".encode("latin-1"), reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_service, to_service = await asyncio.open_connection("127.0.0.1", self._service)
        to_service.write(head)
        there = asyncio.ensure_future(_copy(reader, to_service))
        try:
            await _copy(from_service, writer)
        finally:
            there.cancel()
            to_service.close()


def _once(headers: str) -> str:
    """The headers of a request that is the only one of its connection, unless it asks for an upgrade."""
    lines = headers.split("\r\n")
    if any(line.lower().startswith("upgrade:") for line in lines):
        return headers
    return "\r\n".join(["Connection: close", *(line for line in lines if not line.lower().startswith("connection:"))])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(HEAD_BYTES):
            writer.write(data)
            await writer.drain()


@contextmanager
def proxied(port: int, prefix: str, *, strip: bool) -> Iterator[PrefixProxy]:
    """The proxy in a thread of its own until the block ends."""
    proxy = PrefixProxy(port, prefix, strip=strip)
    running, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        loop.run_until_complete(proxy.serve(running, stop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert running.wait(PATIENCE_S)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
