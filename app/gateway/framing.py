"""RFC 6455 between the handshake and the end, without I/O: a client's bytes in, whole messages out, and what they cost.

Every frame that is allowed is decoded here. Closes and violations are handed to `websockets` one frame at a time, so
that its protocol object, which answers them, always stands at a frame's boundary.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import TypeAlias

from websockets.frames import Opcode
from websockets.protocol import Protocol, State

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiler when it was installed: the same in Python
    from websockets.utils import apply_mask

PLAIN_TEXT = 0x81
"""First byte of a whole text message in one frame: FIN, no extension, opcode 1 (RFC 6455, section 5.2)."""
PING, PONG = 0x89, 0x8A
BEGINS = frozenset({0x01, 0x81, 0x02, 0x82})
"""First bytes of frames that begin a text or binary message, whole or not."""
CONTINUES = frozenset({0x00, 0x80})
FIN = 0x80
CONTROL_BYTES = 125
"""Largest payload of a control frame (RFC 6455, section 5.5)."""
FRAGMENTS = 128
"""Most fragments of one message; the largest message in pieces of 64 bytes."""
TURN_FRAMES, TURN_BYTES = 64, 64 * 1024
"""One client's frames in one turn of the loop; then it is the others' turn."""
COST_BYTES = 1024


class FrameEvent(Enum):
    """What a client sent that is no text message."""

    BINARY = "binary"
    """A binary message. Its content is not kept."""
    PING = "ping"
    """Its pong is in `data_to_send`, unless a newer ping comes before that is called."""
    PONG = "pong"
    """Its payload is in `last_pong`."""
    CLOSED = "closed"
    """The client closed, or broke the protocol. The answer is in `data_to_send`; no event follows."""


Event: TypeAlias = bytes | FrameEvent
"""Bytes are one text message, whole and valid UTF-8."""


class FrameDecoder:
    """The incoming side of one connection, and its closing handshake.

    Call `receive` with what came, then `next_event` until there is none, and act on each event before the next: after
    `close` the client's messages are dropped, and only the end of the handshake is an event. When `turn_over` says that
    there is more, go on with `next_turn` in the next turn of the loop, and read no more bytes until then.
    """

    __slots__ = (
        "_at",
        "_binary",
        "_buffer",
        "_closing",
        "_ended",
        "_fragments",
        "_fragments_bytes",
        "_frames",
        "_max_bytes",
        "_pong",
        "_protocol",
        "_uncommon",
        "cost",
        "last_pong",
    )

    def __init__(self, protocol: Protocol) -> None:
        """`protocol` has read the client's request and nothing after it."""
        self.last_pong = b""
        self.cost = 0
        """Of all frames that are no whole text message: 1 each, and 1 for each KiB begun. The caller resets it."""
        self._protocol = protocol
        self._max_bytes = sys.maxsize if protocol.max_message_size is None else protocol.max_message_size
        self._buffer = b""
        self._at = 0
        """Where in the buffer the next frame begins."""
        self._frames = 0
        """Frames in this turn."""
        self._pong: bytes | None = None
        """Payload of the newest ping that is not answered yet."""
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
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
        self._at = self._frames = 0
        return self.next_event()

    def next_turn(self) -> Event | None:
        """Go on with what the last turn left; returns the first event, None when there is none."""
        return self.receive(b"")

    @property
    def failed(self) -> bool:
        """Whether the client broke a rule, so that more of it may be on its way."""
        return self._ended and self._protocol.close_rcvd is None

    @property
    def turn_over(self) -> bool:
        """Whether there may be more events, for another turn of the loop."""
        return self._frames >= TURN_FRAMES or self._at >= TURN_BYTES

    def next_event(self) -> Event | None:
        """The next event in what was received; None: more bytes are needed, or this turn is over."""
        data, at = self._buffer, self._at
        size = len(data)
        if size - at < 2 or self._frames >= TURN_FRAMES or at >= TURN_BYTES:
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
            self._frames += 1
        message = apply_mask(data[body:end], data[body - 4 : body])
        try:
            str(message, "utf-8")
        except UnicodeDecodeError:
            return self._fail_encoding()
        return message

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait for the rest of their frame, or for another turn."""
        return len(self._buffer) - self._at

    def data_to_send(self) -> bytes:
        """What must be sent to the client now: the pong to its newest ping, a close frame."""
        pong, self._pong = self._pong, None
        head = b"" if pong is None else bytes((PONG, len(pong))) + pong
        return head + b"".join(self._protocol.data_to_send())

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
            if self.turn_over:
                return None
            data = self._take_frame()
            if not data:
                return None
            event = self._decode(data)
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

    def _decode(self, data: bytes) -> Event | None:
        """One frame: what it is, if it is an event by itself or completes a message."""
        self._frames += 1
        self.cost += 2 + (len(data) - 1) // COST_BYTES
        first = data[0]
        payload = _payload_of(data)
        if payload is not None:
            if first in (PING, PONG) and len(payload) <= CONTROL_BYTES:
                return self._control(first, payload)
            follows = CONTINUES if self._fragments else BEGINS
            if first in follows and self._fragments_bytes + len(payload) <= self._max_bytes:
                return self._fragment(first, payload)
        return self._parse(data)

    def _control(self, first: int, payload: bytes) -> FrameEvent:
        if first == PONG:
            self.last_pong = payload
            return FrameEvent.PONG
        self._pong = payload
        return FrameEvent.PING

    def _fragment(self, first: int, payload: bytes) -> Event | None:
        """A message, or a part of one."""
        if first in BEGINS:
            self._binary = first & 0x0F == Opcode.BINARY
        self._fragments.append(payload)
        self._fragments_bytes += len(payload)
        self._uncommon = True
        if first & FIN:
            return self._whole_message()
        if len(self._fragments) >= FRAGMENTS:
            self.fail(1008, f"a message has at most {FRAGMENTS} fragments")
            return FrameEvent.CLOSED
        return None

    def _parse(self, data: bytes) -> FrameEvent:
        """A close, or something that is not allowed, through `websockets`, which answers it."""
        protocol = self._protocol
        protocol.current_size = self._fragments_bytes if self._fragments else None
        protocol.receive_data(data)
        protocol.events_received()
        self._ended = self._uncommon = True
        return FrameEvent.CLOSED

    def _whole_message(self) -> Event | None:
        message = b"".join(self._fragments)
        self._fragments.clear()
        self._fragments_bytes = 0
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


def _payload_of(frame: bytes) -> bytes | None:
    """The unmasked payload of a whole frame; None: it is not masked, or too large to be whole."""
    if len(frame) < 6 or frame[1] < 0x80:
        return None
    length, body = frame[1] & 0x7F, 6
    if length >= 126:
        body += 2 if length == 126 else 8
        length = int.from_bytes(frame[2 : body - 4], "big")
    if len(frame) != body + length:
        return None
    return apply_mask(frame[body:], frame[body - 4 : body])


def text_head(size: int) -> bytes:
    """What stands before the payload of an unmasked, unfragmented text frame (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((PLAIN_TEXT, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")
