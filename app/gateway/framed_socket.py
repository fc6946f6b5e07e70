"""A client's connection as its session sees it: frames leave through an outbox, one write a turn of the loop.

It needs a transport and a decoder; which server accepted the connection makes no difference to it.
"""

from __future__ import annotations

import asyncio

from app.gateway.framing import Event, FrameDecoder, FrameEvent, text_head
from app.gateway.ports import Receiver

ACK_DELAY_S = 0.2
"""An ack waits this long at most for the first event of its message: the message waits its turn, the worker is busy."""
FIRST_EVENT_DELAY_S = 0.02
"""Once the worker has started the message, its first event comes at once, or the ack leaves without it."""
LINGER_S = 1.0
"""How long a client that broke a rule has to read why."""
EARLY_MESSAGES = 64
"""Messages that may arrive before there is a session for them."""


class DelayedFlush:
    """Sockets whose frames wait for more to leave with them, `delay_s` at most; one timer for all of them."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._sockets: list[tuple[FramedSocket, int]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, socket: FramedSocket, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:  # the timer of a loop that was closed never fires
            self._loop, self._sockets = loop, []
        if not self._sockets:
            loop.call_later(self._delay_s, self._flush)
        self._sockets.append((socket, socket.writes))

    def _flush(self) -> None:
        sockets, self._sockets = self._sockets, []
        for socket, writes in sockets:
            if socket.writes == writes:  # else it has been written, and what waits now came later
                socket.flush()


_acks = DelayedFlush(ACK_DELAY_S)
_first_events = DelayedFlush(FIRST_EVENT_DELAY_S)


class FramedSocket:
    """Implements `app.gateway.ports.ClientSocket`. `close` sends what waits in the outbox first."""

    __slots__ = (
        "_close_timeout_s",
        "_cut_off",
        "_decoder",
        "_early",
        "_flushing",
        "_loop",
        "_outbox",
        "_outbox_bytes",
        "_transport",
        "asked",
        "closed",
        "gone",
        "reads_too_slowly",
        "receiver",
        "writes",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        decoder: FrameDecoder,
        close_timeout_s: float,
    ) -> None:
        self.receiver: Receiver | None = None
        """Where messages go; None before `attach` and after the end."""
        self.closed = False
        """Either side has begun to close, or the client is gone: nothing more is sent."""
        self.gone = False
        """The transport is lost."""
        self.reads_too_slowly = False
        """The transport's buffer is over its bound: pings are not answered before the client has read."""
        self.asked: asyncio.Future[None] | None = None
        """Waits for a sign of life; None: nobody asks for one."""
        self.writes = 0
        """How many times the outbox was emptied."""
        self._transport = transport
        self._loop = loop
        self._decoder = decoder
        self._close_timeout_s = close_timeout_s
        self._early: list[Event] = []
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._flushing = False
        self._cut_off: asyncio.TimerHandle | None = None

    # -- the session's side -------------------------------------------------------------------------------------------

    def attach(self, receiver: Receiver) -> bool:
        """Messages go to `receiver` from now on. False when the client is gone already."""
        if self.closed or not self._decoder.open:
            return False
        self.receiver = receiver
        early, self._early = self._early, []
        for message in early:
            self.deliver(message)
        return True

    def send(self, frame: bytes) -> None:
        """The frame leaves at the end of this turn of the loop."""
        if self.closed:
            return
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)
        self._append(frame)

    def hold(self, frame: bytes) -> None:
        """The frame leaves with the next one, or after `ACK_DELAY_S`."""
        if self.closed:
            return
        if not self._outbox:
            _acks.add(self, self._loop)
        self._append(frame)

    def hurry(self) -> None:
        """What is held leaves after `FIRST_EVENT_DELAY_S` at most."""
        if self._outbox and not self._flushing:
            _first_events.add(self, self._loop)

    def buffered_bytes(self) -> int:
        """Bytes that the client has not been sent yet."""
        return self._outbox_bytes + self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; a client that does not answer in time is cut off. The receiver is not told."""
        self.receiver = None
        if self.closed:
            return
        self._decoder.close(code, reason)
        self._send_control()
        self.closed = True
        # abort, not close: closing politely waits for a buffer that a client who does not read never empties.
        self._cut_off = self._loop.call_later(self._close_timeout_s, self._transport.abort)

    def ask(self) -> asyncio.Future[None]:
        """Ping the client; done as soon as it sends anything, or is gone."""
        if self.asked is not None:
            return self.asked
        asked = self._loop.create_future()
        if self.closed:
            asked.set_result(None)
        else:
            self.asked = asked
            self._decoder.ping()
            self._send_control()
        return asked

    def drop(self) -> None:
        """Close it, because the client does not answer; its session is free for a resume at once."""
        self.detach()
        self.close(1001, "no answer to a ping")

    def _append(self, frame: bytes) -> None:
        self._outbox += (text_head(len(frame)), frame)
        self._outbox_bytes += len(frame)

    def flush(self) -> None:
        """Write the outbox now."""
        self._flushing = False
        if self._outbox:
            self._transport.write(b"".join(self._outbox))
            self._outbox = []
            self._outbox_bytes = 0
            self.writes += 1

    # -- the connection's side ----------------------------------------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Act on one event of the decoder; pongs are the connection's own."""
        if event is FrameEvent.PING:
            if not self.reads_too_slowly:  # else the decoder keeps the newest
                self._send_control()
        elif event is FrameEvent.CLOSED:
            self._end()
        elif self.receiver is None:
            self._keep_early(event)
        elif event is FrameEvent.BINARY:
            self.receiver.refuse_binary()
        elif isinstance(event, bytes):
            self.receiver.receive(event)

    def caught_up(self) -> None:
        """The client has read what was sent: the newest of its pings is answered now."""
        self.reads_too_slowly = False
        if not self.closed:
            self._send_control()

    def fail(self, code: int, reason: str) -> None:
        """End the connection without waiting for the client, which broke a rule; the receiver is told."""
        if not self.closed:
            self._decoder.fail(code, reason)
            self._end()

    def answer(self) -> None:
        """The client has sent something, or is gone: whoever asked need not wait."""
        asked, self.asked = self.asked, None
        if asked is not None and not asked.done():
            asked.set_result(None)

    def detach(self) -> None:
        """Tell the receiver, once, that nobody is there any more."""
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.on_detached()

    def lost(self) -> None:
        """The transport is gone."""
        self.closed = self.gone = True
        self.answer()
        self._outbox = []
        self._outbox_bytes = 0
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None
        self.detach()

    def _keep_early(self, event: Event) -> None:
        """A client may send right after its request: its messages wait until there is a session."""
        if self.closed:
            return
        self._early.append(event)
        if len(self._early) > EARLY_MESSAGES:
            self.fail(1008, "too many messages before connection_ready")

    def _send_control(self) -> None:
        """Send the decoder's control frames, after what was said before them."""
        self.flush()
        data = self._decoder.data_to_send()
        if data:
            self._transport.write(data)

    def _end(self) -> None:
        """The closing handshake is complete, or has failed."""
        self.detach()
        self._send_control()
        self.closed = True
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None
        if self._decoder.failed:
            # Bytes that nobody reads would reset the connection, and with it the code: what still comes is thrown away.
            self._transport.write_eof()
            self._cut_off = self._loop.call_later(LINGER_S, self._transport.abort)
            return
        self._transport.close()
        if self._transport.get_write_buffer_size():
            # It stays open until the client has read what was sent, but not for ever.
            self._cut_off = self._loop.call_later(self._close_timeout_s, self._transport.abort)
