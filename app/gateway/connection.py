"""uvicorn's protocol classes with our framing: Litestar does the handshake and the sign-in, then whole messages go to a
session by one synchronous call each, without a task or a queue per socket.
"""

from __future__ import annotations

from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

from app.gateway.framed_socket import FramedSocket
from app.gateway.framing import FrameDecoder, FrameEvent

EXTENSION = "crossfade.socket"
"""Key in the ASGI scope's extensions under which the handler of `/ws` finds its `FramedSocket`."""


class Upgradable(HttpToolsProtocol):
    """uvicorn's HTTP class (`Config(http=Upgradable)`); nothing of it is left once a `Connection` has taken over."""

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # a reference cycle otherwise


class Connection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket class (`Config(ws=Connection)`): its handshake and its pings, our framing."""

    socket: FramedSocket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._decoder = FrameDecoder(self.conn)

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.socket = FramedSocket(self.transport, self.loop, self._decoder, self.close_timeout)

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            return
        decoder, socket = self._decoder, self.socket
        if socket.asked is not None:
            socket.answer()
        event = decoder.receive(data)
        while event is not None:
            if isinstance(event, bytes) and (receiver := socket.receiver) is not None:
                receiver.receive(event)
            elif event is FrameEvent.PONG:
                # An empty one answers `ask`. Clients may answer only the newest ping (RFC 6455, section 5.5.3), so it
                # answers the keepalive's as well.
                self.handle_pong(Frame(Opcode.PONG, decoder.last_pong or self.pending_ping_payload or b""))
            else:
                socket.deliver(event)
            event = decoder.next_event()

    async def run_asgi(self) -> None:
        if self.disconnected:
            return
        extensions: dict[str, object] = self.scope["extensions"]  # type: ignore[assignment]
        extensions[EXTENSION] = self.socket
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception:
            self.logger.exception("the handshake failed")
            self.send_500_response()
        if self.socket.receiver is None and not (self.close_sent or self.socket.closed):
            self.transport.close()

    def send_keepalive_ping(self) -> None:
        if not self.socket.closed:
            super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """A half-open peer: its session is free for a resume at once."""
        self.pong_timer = None
        self.pending_ping_payload = None
        self.socket.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.socket.lost()

    def shutdown(self) -> None:
        """The server stops and this socket was not drained before: 1012."""
        if self.socket.receiver is not None:
            self.socket.detach()
            self.socket.close(1012, "restart")
        elif not (self.close_sent or self.socket.closed):
            super().shutdown()
