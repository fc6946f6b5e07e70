"""HTTP requests out of a client's bytes, one at a time and bounded, before a parser sees them. It does no I/O.

Chunks are passed on without their extensions, and the trailers after them not at all: nobody here reads either.
"""

from __future__ import annotations

import re
from enum import Enum

from app.gateway.request_head import RequestHead, RequestRefused, plain_head

CHUNK_LINES_BYTES = 16 * 1024
"""All lines that say how large a chunk is, of one request, with their extensions."""
TRAILER_BYTES = 16 * 1024

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_EMPTY_LINE = b"\r\n"
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _Next(Enum):
    """What is read next."""

    HEAD = "head"
    BODY = "body"
    CHUNK_LINE = "chunk line"
    CHUNK = "chunk"
    CHUNK_END = "chunk end"
    TRAILER = "trailer"
    NOTHING = "nothing"
    """The request is whole; `next_request` begins with the next."""


class RequestReader:
    """Call `receive` with what came, then `next_part` until there is none.

    All parts of a request together are a request that means the same. After `RequestRefused` the reader is of no use.
    """

    __slots__ = ("_at", "_buffer", "_head", "_left_bytes", "_lines_bytes", "_next", "_skipped")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        """Where in the buffer begins what is read next."""
        self._begin()

    def _begin(self) -> None:
        self._next = _Next.HEAD
        self._head = RequestHead()
        self._skipped = False
        self._left_bytes = 0
        """Of the body, or of the chunk."""
        self._lines_bytes = 0
        """Of the chunk lines, or of the trailers, so far."""

    @property
    def begun(self) -> bool:
        """Whether anything of a request is there."""
        return self._next is not _Next.HEAD or self._head.begun or self.buffered_bytes > 0

    @property
    def whole(self) -> bool:
        """Whether the request has been passed on to its end."""
        return self._next is _Next.NOTHING

    @property
    def upgrades(self) -> bool:
        """Whether the request, once its head is whole, asks for a WebSocket."""
        return self._head.upgrades

    @property
    def buffered_bytes(self) -> int:
        """Bytes that are kept: an unfinished head, or what came after a request that is whole."""
        return len(self._buffer) - self._at + (self._head.size_bytes if self._next is _Next.HEAD else 0)

    def receive(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def next_part(self) -> bytes | None:
        """The next bytes for the parser; None: more are needed, or the request is whole. Raises `RequestRefused`."""
        while self._next is not _Next.NOTHING:
            if self._next is _Next.HEAD:
                return self._head_part()
            if self._next is _Next.BODY or self._next is _Next.CHUNK:
                return self._body_part()
            line = self._take_line()
            if line is None:
                return None
            part = self._framing_part(line)
            if part:
                return part
        return None

    def next_request(self) -> None:
        """Go on with the next request, when this one is whole and answered."""
        self._begin()

    def take_rest(self) -> bytes:
        """What came after the request; it is kept no longer."""
        rest, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return rest

    def _head_part(self) -> bytes | None:
        head = self._head
        if not head.begun and (plain := plain_head(self._buffer, self._at)) is not None:
            self._at += len(plain[0])
            return self._begin_body(*plain)
        while True:
            if not head.begun:
                self._check_first_byte()
            line = self._take_line()
            if line is None:
                return None
            if line == _EMPTY_LINE and not head.begun and not self._skipped:
                self._skipped = True  # RFC 9112, section 2.2: an empty line before a request is no mistake
            elif head.add(line):
                return self._begin_body(head.encode(), head.body_bytes)

    def _begin_body(self, head: bytes, body_bytes: int | None) -> bytes:
        self._left_bytes = body_bytes or 0
        self._next = _Next.CHUNK_LINE if body_bytes is None else _Next.BODY if body_bytes else _Next.NOTHING
        return head

    def _check_first_byte(self) -> None:
        """TLS, or any other protocol, is refused at once."""
        if self._at < len(self._buffer):
            first = self._buffer[self._at]
            if first not in _LETTERS and (self._skipped or first != _EMPTY_LINE[0]):
                raise RequestRefused(400, "this is no HTTP request")

    def _body_part(self) -> bytes | None:
        part = self._buffer[self._at : self._at + self._left_bytes]
        self._at += len(part)
        self._left_bytes -= len(part)
        if not self._left_bytes:
            self._next = _Next.NOTHING if self._next is _Next.BODY else _Next.CHUNK_END
        return part or None

    def _framing_part(self, line: bytes) -> bytes:
        """What a line between chunks, or after them, means for the parser."""
        self._lines_bytes += len(line)
        if self._next is _Next.CHUNK_END:
            self._lines_bytes -= len(line)
            if line != _EMPTY_LINE:
                raise RequestRefused(400, "a chunk must have the length that it says")
            self._next = _Next.CHUNK_LINE
            return _EMPTY_LINE
        if self._next is _Next.TRAILER:
            if line != _EMPTY_LINE:
                return b""
            self._next = _Next.NOTHING
            return b"0\r\n\r\n"
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "a chunk must begin with its length")
        self._left_bytes = int(match[1], 16)
        if not self._left_bytes:
            self._next, self._lines_bytes = _Next.TRAILER, 0
            return b""
        self._next = _Next.CHUNK
        return b"%x\r\n" % self._left_bytes

    def _take_line(self) -> bytes | None:
        """The next line with its end; None: it is not whole yet. Raises `RequestRefused` as soon as it is too long."""
        most = self._line_bytes()
        end = self._buffer.find(b"\n", self._at, self._at + most)
        if end < 0:
            if len(self._buffer) - self._at >= most:
                raise self._too_long()
            return None
        line = self._buffer[self._at : end + 1]
        self._at = end + 1
        return line

    def _line_bytes(self) -> int:
        if self._next is _Next.HEAD:
            return self._head.line_bytes
        if self._next is _Next.CHUNK_END:
            return len(_EMPTY_LINE)
        most = TRAILER_BYTES if self._next is _Next.TRAILER else CHUNK_LINES_BYTES
        return most - self._lines_bytes

    def _too_long(self) -> RequestRefused:
        if self._next is _Next.HEAD:
            return self._head.too_long()
        if self._next is _Next.TRAILER:
            return RequestRefused(431, f"trailers have {TRAILER_BYTES} bytes at most")
        if self._next is _Next.CHUNK_END:
            return RequestRefused(400, "a chunk must have the length that it says")
        return RequestRefused(400, f"the lines of all chunks have {CHUNK_LINES_BYTES} bytes at most")
