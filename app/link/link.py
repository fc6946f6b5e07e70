"""One end of the link between a gateway and a path worker: batches of frames over a connected stream socket."""

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
"""Largest batch, without its length prefix; a longer one comes from a broken or hostile peer."""
READ_BYTES = 256 * 1024
TURN_BYTES = 1024 * 1024
"""Most bytes that are read from one link in one turn of the loop; then it is the others' turn."""
_LENGTH = struct.Struct("<I")

Incoming = TypeVar("Incoming")
Buffer: TypeAlias = bytes | bytearray | memoryview


class Batches(Generic[Incoming]):
    """The protocol without I/O. A batch is 4 bytes of length (little-endian), then a msgpack array of frames."""

    def __init__(self, incoming: Any, *, limit_bytes: int = BATCH_BYTES) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[list[Incoming]] = msgspec.msgpack.Decoder(list[incoming])
        self._limit_bytes = limit_bytes
        self._pending = bytearray()
        self.error: LinkError | None = None

    def encode(self, frames: list[msgspec.Struct]) -> list[bytes]:
        """These frames in as few batches as the limit allows. Raises `LinkError` for a frame that exceeds it."""
        batch = bytearray(4)
        self._encoder.encode_into(frames, batch, 4)
        length = len(batch) - 4
        if length <= self._limit_bytes:
            _LENGTH.pack_into(batch, 0, length)
            return [bytes(batch)]
        if len(frames) == 1:
            raise LinkError(f"a frame has {length} bytes; at most {self._limit_bytes} fit into a batch")
        middle = len(frames) // 2
        return self.encode(frames[:middle]) + self.encode(frames[middle:])

    def feed(self, data: Buffer) -> list[Incoming]:
        """The frames that these bytes complete, in order. After a broken batch nothing more is read: see `error`."""
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
        """Whether the last bytes are the beginning of a batch that is not complete."""
        return bool(self._pending)

    def _length(self, view: memoryview, at: int) -> int | None:
        """The length of the batch that begins here; None: not all of it is there, or it is too long."""
        if len(view) - at < 4:
            return None
        length: int = _LENGTH.unpack_from(view, at)[0]
        if length > self._limit_bytes:
            self.error = LinkError(f"a batch has {length} bytes; at most {self._limit_bytes} are allowed")
            return None
        return length if len(view) - at - 4 >= length else None

    def _decode(self, batch: memoryview) -> list[Incoming]:
        try:
            return self._decoder.decode(batch)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self.error = LinkError(f"a batch of {len(batch)} bytes cannot be read: {error}")
            return []


class Link(Generic[Incoming]):
    """One end of the link, which owns its connected stream socket.

    Frames given to `send` within one turn of the loop leave in one write. It writes to the socket itself: a transport
    of uvloop keeps bytes until the end of the turn, and `flush` must be able to say that the kernel has them.
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
        """`on_closed` is called once, after the last frames: the peer closed the link (None) or broke the protocol."""
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
        self._peer_gone = False
        self.closed = False
        self._loop.add_reader(connected.fileno(), self._on_readable)

    def send(self, frame: msgspec.Struct) -> None:
        """Queue one frame; it leaves at the end of this turn or with `flush`. Dropped if the peer is gone."""
        if self.closed or self._peer_gone:
            return
        if not self._queued:
            self._loop.call_soon(self.flush)
        self._queued.append(frame)

    def flush(self) -> bool:
        """Give what is queued to the kernel now; returns whether the kernel has all of it."""
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
        """Wait until the kernel has everything that was sent so far, or the peer is gone."""
        if not self.flush():
            waiting = self._loop.create_future()
            self._waiting.append(waiting)
            await waiting

    def read(self, most_bytes: int = BATCH_BYTES) -> bool:
        """Read what the kernel has now, so that a peer is not taken for silent because of bytes not read yet.

        Returns whether that was all; False: there were more than `most_bytes`.
        """
        while count := self._read_once():
            most_bytes -= count
            if most_bytes <= 0:
                return False
        return True

    def _on_readable(self) -> None:
        # Read to the end, although one `recv` is often enough: after a reset uvloop calls the reader only once.
        if not self.read(TURN_BYTES):
            self._loop.call_soon(self._on_readable)

    def close(self) -> None:
        """Close the socket at once; unsent bytes are lost, and `on_closed` is not called."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._queued.clear()
        self._unsent.clear()
        self._stop_writing()
        self._socket.close()

    def _read_once(self) -> int:
        """One `recv`; returns the number of bytes, 0 if there are none now or at the end."""
        if self.closed:
            return 0
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:  # reset: the peer died with unread bytes; before this, the kernel gave us all that it had sent
            data = b""
        if not data:
            self._end(LinkError("the peer closed the link within a batch") if self._batches.incomplete else None)
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
        """Send what the kernel takes; when its buffer is full, continue as soon as it is not."""
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
                # The peer is gone; what it sent before is still to be read, so only the reader ends the link.
                self._peer_gone = True
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
