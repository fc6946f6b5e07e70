"""uvicorn's WebSocket class with our framing: Litestar does the handshake and the sign-in, then whole messages go to a
session by one synchronous call each, without a task or a queue per socket.
"""

from __future__ import annotations

from asyncio.transports import BaseTransport
from collections.abc import Callable
from time import monotonic
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from app.gateway.framed_socket import FramedSocket
from app.gateway.framing import Event, FrameDecoder, FrameEvent
from app.gateway.rate_limits import FRAME_RATE, TokenBucket

EXTENSION = "crossfade.socket"
"""Key in the ASGI scope's extensions under which the handler of `/ws` finds its `FramedSocket`."""
_ANY_REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Connection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket class (`Config(ws=Connection)`): its handshake and its pings, our framing.

    `gone` is called once, when the connection is.
    """

    socket: FramedSocket

    def __init__(self, *args: Any, gone: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gone = gone
        self._decoder = FrameDecoder(self.conn)
        self._rate: TokenBucket | None = None
        """Made with the first frame that is charged: most clients never send one."""
        self._waits_for_turn = False

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.socket = FramedSocket(self.transport, self.loop, self._decoder, self.close_timeout)

    def open(self, request: Request) -> None:
        """Begin the handshake with a request that was read already; frames come next."""
        self.conn.receive_data(_ANY_REQUEST)  # so that its parser is past the request; it knows other bounds than ours
        self.conn.events_received()
        self.handle_connect(request)

    def data_received(self, data: bytes) -> None:
        if self.socket.asked is not None:
            self.socket.answer()
        self._act_on(self._decoder.receive(data))

    def _act_on(self, event: Event | None) -> None:
        """Act on this event and those that follow in this turn of the loop."""
        decoder, socket = self._decoder, self.socket
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
        if decoder.cost:
            self._charge()
        if decoder.turn_over and not self._waits_for_turn:
            self._wait_for_turn()

    def _charge(self) -> None:
        """Charge for what is no whole text message; those are charged by their session."""
        cost, self._decoder.cost = self._decoder.cost, 0
        now = monotonic()
        if self._rate is None:
            self._rate = TokenBucket(FRAME_RATE.per_second, FRAME_RATE.burst, now)
        if self._rate.take(now, cost):
            return
        if self.socket.closed:
            self.transport.abort()  # instead of answering the close that was sent to it
        else:
            self.socket.fail(1008, "too many frames")

    def _wait_for_turn(self) -> None:
        """Let others have their turn of the loop; nothing more is read meanwhile."""
        if self.socket.gone or self.transport.is_closing():
            return
        self._waits_for_turn = True
        self.transport.pause_reading()
        self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._waits_for_turn = False
        if self.socket.gone or self.transport.is_closing():
            return
        self._act_on(self._decoder.next_turn())
        if not (self._waits_for_turn or self.transport.is_closing()):
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.socket.reads_too_slowly = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.socket.caught_up()

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
        self._gone()

    def shutdown(self) -> None:
        """The server stops and this socket was not drained before: 1012."""
        if self.socket.receiver is not None:
            self.socket.detach()
            self.socket.close(1012, "restart")
        elif not (self.close_sent or self.socket.closed):
            super().shutdown()
