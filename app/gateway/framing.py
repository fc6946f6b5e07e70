"""RFC 6455 between the handshake and the end, without I/O: a client's bytes in, whole messages out.

Whole text frames, which is nearly everything, are unmasked here. All others (fragments, binary, control frames, errors)
are handed to `websockets` one frame at a time, so that its protocol object always stands at a frame's boundary.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import TypeAlias

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiler when it was installed: the same in Python
    from websockets.utils import apply_mask

PLAIN_TEXT = 0x81
"""First byte of a whole text message in one frame: FIN, no extension, opcode 1 (RFC 6455, section 5.2)."""


class FrameEvent(Enum):
    """What a client sent that is no text message."""

    BINARY = "binary"
    """A binary message. Its content is not kept."""
    PING = "ping"
    """Its pong is in `data_to_send`."""
    PONG = "pong"
    """Its payload is in `last_pong`."""
    CLOSED = "closed"
    """The client closed, or broke the protocol. The answer is in `data_to_send`; no event follows."""


Event: TypeAlias = bytes | FrameEvent
"""Bytes are one text message, whole and valid UTF-8."""


class FrameDecoder:
    """The incoming side of one connection, and its closing handshake.

    Call `receive` with what came, then `next_event` until there is none, and act on each event before the next: after
    `close` the client's messages are dropped, and only the end of the handshake is an event.
    """

    __slots__ = (
        "_at",
        "_binary",
        "_buffer",
        "_closing",
        "_ended",
        "_fragments",
        "_max_bytes",
        "_protocol",
        "_uncommon",
        "last_pong",
    )

    def __init__(self, protocol: Protocol) -> None:
        """`protocol` has read the client's request and nothing after it."""
        self.last_pong = b""
        self._protocol = protocol
        self._max_bytes = sys.maxsize if protocol.max_message_size is None else protocol.max_message_size
        self._buffer = b""
        self._at = 0
        """Where in the buffer the next frame begins."""
        self._fragments: list[bytes] = []
        self._binary = False
        """Whether the fragments are a binary message's."""
        self._closing = False
        self._ended = False
        self._uncommon = False
        """Every frame goes through `websockets` now: a message is open in fragments, or the connection ends."""

    @property
    def open(self) -> bool:
        """Whether the handshake is over and neither side has begun to close."""
        return self._protocol.state is State.OPEN

    def receive(self, data: bytes) -> Event | None:
        """Take bytes of the client; returns the first event, None when there is none yet."""
        if self._buffer:
            data = self._buffer[self._at :] + data
        self._buffer = data
        self._at = 0
        return self.next_event()

    def next_event(self) -> Event | None:
        """The next event in what was received; None: more bytes are needed."""
        data, at = self._buffer, self._at
        size = len(data)
        if size - at < 2:
            return None
        length = data[at + 1] & 0x7F
        body = at + 6
        if length >= 126:
            body += 2 if length == 126 else 8
            length = int.from_bytes(data[at + 2 : body - 4], "big")
        end = body + length
        if end > size or data[at] != PLAIN_TEXT or data[at + 1] < 0x80 or length > self._max_bytes or self._uncommon:
            return self._next_uncommon_event()
        if end == size:
            self._buffer, self._at = b"", 0
        else:
            self._at = end
        message = apply_mask(data[body:end], data[body - 4 : body])
        try:
            str(message, "utf-8")
        except UnicodeDecodeError:
            return self._fail_encoding()
        return message

    def data_to_send(self) -> bytes:
        """What must be sent to the client now: pongs, or a close frame."""
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> None:
        """Ask for a pong, with an empty payload; the ping is in `data_to_send`."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, unless it has begun; the close frame is in `data_to_send`."""
        self._closing = self._uncommon = True
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)

    def fail(self, code: int, reason: str) -> None:
        """End the connection without waiting for the client; the close frame is in `data_to_send`. No event follows."""
        self._protocol.fail(code, reason)
        self._ended = self._uncommon = True

    def _next_uncommon_event(self) -> Event | None:
        while not self._ended:
            data = self._take_frame()
            if not data:
                return None
            event = self._parse(data)
            if event is not None:
                return event
        self._buffer, self._at = b"", 0
        return None

    def _take_frame(self) -> bytes:
        """The next whole frame; nothing when it is not whole yet. All there is when no frame can begin like this."""
        data, at = self._buffer, self._at
        size = len(data)
        if size - at < 2:
            return b""
        end = size
        if data[at + 1] >= 0x80:  # masked, as a client's frames must be
            length = data[at + 1] & 0x7F
            body = at + 6
            if length >= 126:
                body += 2 if length == 126 else 8
                if body - 4 > size:
                    return b""
                length = int.from_bytes(data[at + 2 : body - 4], "big")
            if length <= self._max_bytes:
                end = body + length
        if end > size:
            return b""
        self._buffer, self._at = (data, end) if end < size else (b"", 0)
        return data[at:end]

    def _parse(self, data: bytes) -> Event | None:
        """One frame through `websockets`, which answers pings and closes, and notices what is not allowed."""
        protocol = self._protocol
        protocol.receive_data(data)
        if protocol.parser_exc is not None:
            self._ended = self._uncommon = True
            return FrameEvent.CLOSED
        [frame] = protocol.events_received()
        assert isinstance(frame, Frame)  # the request was taken before the first frame
        return self._event_of(frame)

    def _event_of(self, frame: Frame) -> Event | None:
        opcode = frame.opcode
        if opcode is Opcode.PING:
            return FrameEvent.PING
        if opcode is Opcode.PONG:
            self.last_pong = bytes(frame.data)
            return FrameEvent.PONG
        if opcode is Opcode.CLOSE:
            self._ended = self._uncommon = True
            return FrameEvent.CLOSED
        if opcode is not Opcode.CONT:
            self._binary = opcode is Opcode.BINARY
        self._fragments.append(bytes(frame.data))
        self._uncommon = True
        return self._whole_message() if frame.fin else None

    def _whole_message(self) -> Event | None:
        message = b"".join(self._fragments)
        self._fragments.clear()
        self._uncommon = self._closing
        if self._closing:
            return None
        if self._binary:
            return FrameEvent.BINARY
        try:
            str(message, "utf-8")
        except UnicodeDecodeError:
            return self._fail_encoding()
        return message

    def _fail_encoding(self) -> FrameEvent:
        self.fail(1007, "a text message must be UTF-8")
        return FrameEvent.CLOSED


def text_head(size: int) -> bytes:
    """What stands before the payload of an unmasked, unfragmented text frame (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((PLAIN_TEXT, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")
