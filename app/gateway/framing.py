"""WebSocket framing under uvicorn: Litestar does the handshake and the sign-in, then whole messages go to a session
by one synchronous call each, without a task or a queue per socket.

Built on uvicorn's sans-I/O protocol class (`websockets` does the parsing); it knows sessions only as `Receiver`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiler when it was installed: the same in Python
    from websockets.utils import apply_mask

EXTENSION = "crossfade.socket"
"""Key in the ASGI scope's extensions under which the handler of `/ws` finds its `FramedSocket`."""

HOLD_S = 0.2
"""An ack waits at most so long for company: as long as its message waits for its turn, and the worker is busy."""
BEGUN_S = 0.02
"""Once the worker has begun on the message, its first event comes at once, or the ack leaves without it."""
EARLY_MESSAGES = 64
PLAIN_TEXT = 0x81
"""First byte of a whole text message in one frame: FIN, no extension, opcode 1 (RFC 6455, section 5.2)."""
BINARY = b"<binary>"
"""Stands for a binary message, by identity; its content is never looked at."""


class Receiver(Protocol):
    """What a socket feeds; a session is one."""

    def receive(self, frame: str | bytes) -> None: ...
    def refuse_binary(self) -> None: ...
    def on_detached(self) -> None: ...


class Held:
    """The sockets with frames that wait for company, `most_s` at most; one timer for all of them."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._sockets: list[tuple[FramedSocket, int]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, socket: FramedSocket, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:  # the timer of a loop that was closed never fires
            self._loop, self._sockets = loop, []
        if not self._sockets:
            loop.call_later(self._most_s, self._flush)
        self._sockets.append((socket, socket.writes))

    def _flush(self) -> None:
        sockets, self._sockets = self._sockets, []
        for socket, writes in sockets:
            if socket.writes == writes:  # else it has left, and what is held now came later
                socket.flush()


_held = Held(HOLD_S)
_begun = Held(BEGUN_S)


class FramedSocket:
    """A client's open connection, as its session sees it (`app.gateway.session.Socket`).

    Frames sent in one turn of the loop leave in one write; `close` flushes them first.
    """

    __slots__ = ("_connection", "_flushing", "_outbox", "_outbox_bytes", "writes")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._flushing = False
        self.writes = 0
        """So often the outbox was emptied."""

    def attach(self, receiver: Receiver) -> bool:
        """After the handshake: messages go to `receiver` from now on. False when the client is gone already."""
        connection = self._connection
        if connection.disconnected or connection.conn.state is not State.OPEN:
            return False
        connection.receiver = receiver
        waiting, connection.waiting = connection.waiting, []
        for data in waiting:
            if connection.receiver is receiver:
                connection.deliver(receiver, data)
        return True

    def send(self, frame: bytes) -> None:
        connection = self._connection
        if connection.disconnected or connection.close_sent:
            return
        if not self._flushing:
            self._flushing = True
            connection.loop.call_soon(self.flush)
        self._append(frame)

    def hold(self, frame: bytes) -> None:
        connection = self._connection
        if connection.disconnected or connection.close_sent:
            return
        if not self._outbox:
            _held.add(self, connection.loop)
        self._append(frame)

    def hurry(self) -> None:
        if self._outbox and not self._flushing:
            _begun.add(self, self._connection.loop)

    def _append(self, frame: bytes) -> None:
        size = len(frame)
        # An unmasked, unfragmented text frame, RFC 6455 section 5.2: FIN + opcode 1, then the length.
        if size < 126:
            head = bytes((0x81, size))
        elif size < 65_536:
            head = b"\x81\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size.to_bytes(8, "big")
        self._outbox += (head, frame)
        self._outbox_bytes += size

    def buffered_bytes(self) -> int:
        return self._outbox_bytes + self._connection.transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        self._connection.receiver = None
        self._connection.begin_close(code, reason)

    def flush(self) -> None:
        self._flushing = False
        if self._outbox:
            if not self._connection.disconnected:
                self._connection.transport.write(b"".join(self._outbox))
            self._outbox = []
            self._outbox_bytes = 0
            self.writes += 1


class Upgradable(HttpToolsProtocol):
    """uvicorn's HTTP class (`Config(http=Upgradable)`), of which nothing is left once a `Connection` has taken over."""

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # as at the end of every other connection: it knows this object


class Connection(WebSocketsSansIOProtocol):
    """uvicorn's protocol class (`Config(ws=Connection)`), with a synchronous way for whole messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.socket = FramedSocket(self)
        self.receiver: Receiver | None = None
        self.waiting: list[bytes] = []
        self._tail = b""
        """The beginning of a frame whose end has not come; bounded by `ws_max_size`."""
        self._irregular = False

    def data_received(self, data: bytes) -> None:
        """Cut the stream into frames: plain text messages are unmasked here, everything else is `websockets`' business.

        It gets whole frames only, so that it stands at a frame's boundary whenever a plain one passes it by. Once
        something irregular came, it gets all the rest, and says with which code the connection fails.
        """
        if self._irregular or not self.handshake_complete or self._closing():
            # Bytes between request and answer are in its buffer: from there on only it knows where frames begin.
            self._irregular = self._irregular or (self.handshake_initiated and not self.handshake_complete)
            tail, self._tail = self._tail, b""
            super().data_received(tail + data)
            return
        if self._tail:
            data = self._tail + data
            self._tail = b""
        at, size = 0, len(data)
        while size - at >= 2:
            length = data[at + 1] & 0x7F
            head = at + 2
            if length >= 126:
                width = 2 if length == 126 else 8
                head += width
                if head > size:
                    break
                length = int.from_bytes(data[head - width : head], "big")
            if data[at + 1] < 0x80 or length > self.config.ws_max_size:
                self._irregular = True
                super().data_received(data[at:])
                return
            end = head + 4 + length
            if end > size:
                break
            receiver = self.receiver
            if data[at] == PLAIN_TEXT and receiver is not None and self.conn.current_size is None:
                self.deliver(receiver, apply_mask(data[head + 4 : end], data[head : head + 4]))
            else:
                super().data_received(data[at:end])
            at = end
            if self._closing():
                break  # what is left belongs to the closing handshake
        self._tail = data[at:]
        if self._tail and self._closing() and self.conn.parser_exc is None:
            self.data_received(b"")

    def _closing(self) -> bool:
        return self.close_sent

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
        if self.receiver is None and not self.close_sent:
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        frames, self.frames = self.frames, []
        data = bytes(frames[0]) if len(frames) == 1 else b"".join(frames)
        receiver = self.receiver
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            data = BINARY
        if receiver is None:
            self.early(data)
            return
        self.deliver(receiver, data)

    def deliver(self, receiver: Receiver, data: bytes) -> None:
        if data is BINARY:
            receiver.refuse_binary()
            return
        try:
            str(data, "utf-8")
        except UnicodeDecodeError:
            self.conn.fail(1007, "not UTF-8")
            self.handle_parser_exception()
            return
        receiver.receive(data)

    def early(self, data: bytes) -> None:
        """A client may send right after its request: its messages wait until there is a session."""
        self.waiting.append(data)
        if len(self.waiting) > EARLY_MESSAGES:
            self.conn.fail(1008, "too many messages before connection_ready")
            self.handle_parser_exception()

    def begin_close(self, code: int, reason: str) -> None:
        """Start the closing handshake; a peer that does not answer is cut off after `close_timeout`."""
        if self.disconnected or self.close_sent:
            return
        self.socket.flush()
        if self.conn.state is State.OPEN:
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        # abort, not close: closing politely waits for a buffer that a peer who does not read never empties.
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def handle_ping(self) -> None:
        self.socket.flush()
        super().handle_ping()

    def handle_close(self, event: Frame) -> None:
        self.detach()
        self.socket.flush()
        super().handle_close(event)

    def handle_parser_exception(self) -> None:
        self.detach()
        self.socket.flush()
        super().handle_parser_exception()

    def keepalive_timeout(self) -> None:
        """A half-open peer: its session is free for a resume at once."""
        self.pong_timer = None
        self.pending_ping_payload = None
        self.detach()
        self.begin_close(1001, "no answer to a ping")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.detach()
        # Both know this connection: without its way back all of it goes now, and not when a collector finds the circle.
        vars(self).pop("socket", None)
        vars(self).pop("scope", None)

    def shutdown(self) -> None:
        """The server stops and this socket was not drained before: 1012."""
        if self.receiver is not None:
            self.detach()
            self.begin_close(1012, "restart")
        elif not self.close_sent:
            super().shutdown()

    def detach(self) -> None:
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.on_detached()
