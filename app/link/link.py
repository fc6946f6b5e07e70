"""One end of the link between a gateway and a path worker: batches of frames over a connected stream socket.

Knows how frames become bytes and when they leave; must not know what a frame means, nor who is at the other end.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from app.errors import LinkError

BATCH_BYTES = 64 * 1024 * 1024
"""A batch may be so long, without its length; a longer one is a broken or hostile peer."""
READ_BYTES = 256 * 1024
TURN_BYTES = 1024 * 1024
"""One link is read for so long in one turn of the loop; then the others have their turn."""
_LENGTH = struct.Struct("<I")

Incoming = TypeVar("Incoming")
Buffer: TypeAlias = bytes | bytearray | memoryview


class Batches(Generic[Incoming]):
    """The protocol without I/O: frames to bytes, bytes to frames. A batch is 4 bytes length (LE), then msgpack."""

    def __init__(self, incoming: Any, *, limit_bytes: int = BATCH_BYTES) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[list[Incoming]] = msgspec.msgpack.Decoder(list[incoming])
        self._limit_bytes = limit_bytes
        self._pending = bytearray()
        self.error: LinkError | None = None

    def encode(self, frames: list[msgspec.Struct]) -> list[bytes]:
        """These frames as as few batches as the limit allows. Raises `LinkError` for a frame over it."""
        batch = bytearray(4)
        self._encoder.encode_into(frames, batch, 4)
        length = len(batch) - 4
        if length <= self._limit_bytes:
            _LENGTH.pack_into(batch, 0, length)
            return [bytes(batch)]
        if len(frames) == 1:
            raise LinkError(f"a frame of {length} bytes; at most {self._limit_bytes} fit into a batch")
        middle = len(frames) // 2
        return self.encode(frames[:middle]) + self.encode(frames[middle:])

    def feed(self, data: Buffer) -> list[Incoming]:
        """The frames completed by these bytes, in order; what follows a broken batch is not looked at (`error`)."""
        if self._pending:
            self._pending += data
            data = self._pending
        frames: list[Incoming] = []
        at = 0
        with memoryview(data) as view:
            while self.error is None and (length := self._length(view, at)) is not None:
                with view[at + 4 : at + 4 + length] as batch:
                    frames += self._decode(batch)
                at += 4 + length
            if data is not self._pending:
                self._pending += view[at:]
        if data is self._pending:
            del self._pending[:at]
        return frames

    @property
    def incomplete(self) -> bool:
        """Whether the last bytes are the beginning of a batch whose end has not come."""
        return bool(self._pending)

    def _length(self, view: memoryview, at: int) -> int | None:
        """The length of the batch that begins here, when all of it is there."""
        if len(view) - at < 4:
            return None
        length: int = _LENGTH.unpack_from(view, at)[0]
        if length > self._limit_bytes:
            self.error = LinkError(f"a batch of {length} bytes; at most {self._limit_bytes} are allowed")
            return None
        return length if len(view) - at - 4 >= length else None

    def _decode(self, batch: memoryview) -> list[Incoming]:
        try:
            return self._decoder.decode(batch)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self.error = LinkError(f"a batch of {len(batch)} bytes cannot be read: {error}")
            return []


class Link(Generic[Incoming]):
    """One end, over a connected non-blocking stream socket, which it owns.

    Frames given to `send` within one loop turn leave in one write. It writes by itself and not through a transport,
    because uvloop's keep bytes until the end of the turn, and `flush` must be able to say "the kernel has it".
    """

    def __init__(
        self,
        connected: socket.socket,
        incoming: Any,
        *,
        on_frames: Callable[[list[Incoming]], None],
        on_closed: Callable[[LinkError | None], None],
        limit_bytes: int = BATCH_BYTES,
    ) -> None:
        """`on_closed` is called once, after the last frames, when the peer ended (None) or broke the protocol."""
        connected.setblocking(False)
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._batches: Batches[Incoming] = Batches(incoming, limit_bytes=limit_bytes)
        self._on_frames = on_frames
        self._on_closed = on_closed
        self._queued: list[msgspec.Struct] = []
        self._unsent: deque[memoryview] = deque()
        self._waiting: list[asyncio.Future[None]] = []
        self._writing = False
        self._deaf = False
        self.closed = False
        self._loop.add_reader(connected.fileno(), self._on_readable)

    def send(self, frame: msgspec.Struct) -> None:
        """Queue one frame; it leaves at the end of this turn, or with `flush`. Dropped when nobody can hear it."""
        if self.closed or self._deaf:
            return
        if not self._queued:
            self._loop.call_soon(self.flush)
        self._queued.append(frame)

    def flush(self) -> bool:
        """Hand what is queued to the kernel now; whether it has all of it."""
        if self._queued:
            frames, self._queued = self._queued, []
            try:
                batches = self._batches.encode(frames)
            except LinkError as error:
                self._end(error)
                return False
            self._unsent.extend(map(memoryview, batches))
            if not self._writing:
                self._write()
        return not self._unsent

    async def drained(self) -> None:
        """Wait until the kernel has all that was sent so far, or nobody can hear it any more."""
        if not self.flush():
            waiting = self._loop.create_future()
            self._waiting.append(waiting)
            await waiting

    def read(self, most_bytes: int = BATCH_BYTES) -> bool:
        """Hand over what lies in the kernel now, so that nobody is judged by bytes that were only not read yet.

        Returns whether that was all of it; False: there were more than `most_bytes`.
        """
        while count := self._read_once():
            most_bytes -= count
            if most_bytes <= 0:
                return False
        return True

    def _on_readable(self) -> None:
        # To the very end, though one `recv` is often enough: after a reset uvloop calls its reader only this once.
        if not self.read(TURN_BYTES):
            self._loop.call_soon(self._on_readable)

    def close(self) -> None:
        """Let go of the socket at once; unsent bytes are lost, and `on_closed` is not called."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._queued.clear()
        self._unsent.clear()
        self._stop_writing()
        self._socket.close()

    def _read_once(self) -> int:
        """One `recv`; the bytes it gave, 0 at "nothing there" and at the end."""
        if self.closed:
            return 0
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:  # reset: the peer died with unread bytes; the kernel gave us all of its own before it said so
            data = b""
        if not data:
            self._end(LinkError("the link ended within a batch") if self._batches.incomplete else None)
            return 0
        frames = self._batches.feed(data)
        if frames:
            self._on_frames(frames)
        if self._batches.error is not None:
            self._end(self._batches.error)
        return len(data)

    def _end(self, error: LinkError | None) -> None:
        if not self.closed:
            self.close()
            self._on_closed(error)

    def _write(self) -> None:
        """Send what the kernel takes; when it is full, go on as soon as it is not."""
        while self._unsent:
            batch = self._unsent[0]
            try:
                count = self._socket.send(batch)
            except (BlockingIOError, InterruptedError):
                if not self._writing:
                    self._writing = True
                    self._loop.add_writer(self._socket.fileno(), self._write)
                return
            except OSError:
                # The peer is gone; what it said before is still to be read, so only the reader ends the link.
                self._deaf = True
                self._unsent.clear()
                break
            if count == len(batch):
                self._unsent.popleft()
            else:
                self._unsent[0] = batch[count:]
        self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()
