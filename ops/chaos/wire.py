"""A WebSocket client as one protocol object: no task and no queue per socket, so that thousands fit beside a service.

It can also misbehave: split a message into fragments, or disappear without a close.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from app.loadtest.history import ClientHistory, Finished

ABNORMAL = 1006


class Wire(asyncio.Protocol):
    """One connection. Make it with `connect`; every frame goes to its history at once."""

    def __init__(self, url: str, history: ClientHistory, on_finished: Callable[[Finished], None]) -> None:
        self.history = history
        self._gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._on_finished = on_finished
        self._protocol = ClientProtocol(parse_uri(url), max_size=None)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked = False
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._protocol.state is State.OPEN and not self._gone.done()

    def send(self, text: bytes) -> None:
        """Send one message; does nothing if the socket is closed."""
        if self.is_open:
            self._protocol.send_text(text)
            self._flush()

    def send_begin(self, text: bytes) -> None:
        """Send the first fragment of a message."""
        self._protocol.send_text(text, fin=False)
        self._flush()

    def send_end(self, text: bytes) -> None:
        """Send the last fragment of a message."""
        self._protocol.send_continuation(text, fin=True)
        self._flush()

    async def close(self) -> int:
        """Close with the closing handshake; returns the code once the socket is closed."""
        self._asked = True
        if self.is_open:
            self._protocol.send_close(1000)
            self._flush()
        return await self.gone()

    async def gone(self) -> int:
        """Wait until the socket is closed; returns the close code."""
        return await asyncio.shield(self._gone)  # one waiter that is cancelled must not cancel the others' future

    def abort(self) -> None:
        """Disappear without a close."""
        self._asked = True
        if self._transport is not None:
            self._transport.abort()

    async def opened(self) -> None:
        """Wait for the end of the handshake. Raises `InvalidHandshake`, `ConnectionError`."""
        await self._opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        now = time.monotonic()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.TEXT:
                    done = self.history.received(bytes(event.data), now)
                    if done is not None:
                        self._on_finished(done)
            elif not self._opened.done() and self._protocol.handshake_exc is None:
                self._opened.set_result(None)
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        said = self._protocol.close_rcvd
        code = ABNORMAL if said is None else said.code
        if not self._opened.done():
            refused = self._protocol.handshake_exc
            self._opened.set_exception(refused or exc or ConnectionError("closed within the handshake"))
        else:
            self.history.closed(code, asked=self._asked)
        if not self._gone.done():
            self._gone.set_result(code)

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        for data in self._protocol.data_to_send():
            if data:
                transport.write(data)
            else:
                transport.close()


async def connect(
    url: str,
    history: ClientHistory,
    on_finished: Callable[[Finished], None] = lambda done: None,
    source: tuple[str, int] | None = None,
) -> Wire:
    """An open connection. `source`: the local address. Raises `InvalidHandshake`, `OSError`."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(
        lambda: Wire(url, history, on_finished), parts.hostname or "", parts.port or 80, local_addr=source
    )
    await wire.opened()
    return wire


__all__ = ["InvalidHandshake", "Wire", "connect"]
