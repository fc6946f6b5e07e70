"""The head of one HTTP request, line by line and bounded: what it promises to bring, and what a parser may see of it.

What two readers could understand differently is refused, and an upgrade that is not ours is left out.
"""

from __future__ import annotations

import re

from app.errors import CrossfadeError

HEAD_BYTES = 16 * 1024
REQUEST_LINE_BYTES = 8 * 1024
HEADER_LINES = 100

_REQUEST_LINE = re.compile(rb"([A-Z-]{1,32}) [\x21-\x7e]+ HTTP/([0-9])\.([0-9])\r\n")
# RFC 9110, section 5.6.2, and RFC 9112, section 5: no space before the colon, no folded lines, no control characters.
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)\r\n")
_PLAIN = re.compile(
    rb"(?!CONNECT )[A-Z-]{1,32} [\x21-\x7e]+ HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n){0,100}\r\n"
)
_PLAIN_LENGTH = re.compile(rb"\ncontent-length:[\t ]*([0-9]{1,15})[\t ]*\r\n")
_RARE = re.compile(rb"\n(?:transfer-encoding|upgrade|http2-settings):")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CONNECTION = frozenset({b"connection", b"upgrade", b"http2-settings"})
_ONCE = frozenset({b"content-length", b"transfer-encoding", b"host"})


class RequestRefused(CrossfadeError):
    """The request cannot be served: an HTTP status, and words for the client. The connection ends."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


def plain_head(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The head that begins there, and the bytes of its body, if it is whole and asks for nothing that is rare.

    This is most requests, read in a quarter of the time. None: `RequestHead` has to read it.
    """
    match = _PLAIN.match(data, at, at + REQUEST_LINE_BYTES)
    if match is None:
        return None
    head = match[0]
    lowered = head.lower()
    if lowered.count(b"\nhost:") > 1 or _RARE.search(lowered):
        return None
    lengths = lowered.count(b"\ncontent-length:")
    if not lengths:
        return head, 0
    length = _PLAIN_LENGTH.search(lowered)
    return (head, int(length[1])) if length is not None and lengths == 1 else None


class RequestHead:
    """Give it each line with `add` until that says that the head is whole; before that, only the bounds are known."""

    __slots__ = (
        "_connection",
        "_count",
        "_lines",
        "_method",
        "_once",
        "_version",
        "body_bytes",
        "size_bytes",
        "upgrades",
    )

    def __init__(self) -> None:
        self.size_bytes = 0
        """Of the lines so far."""
        self.body_bytes: int | None = 0
        """How much follows the head; None: chunks follow."""
        self.upgrades = False
        """Whether it asks for a WebSocket."""
        self._lines: list[bytes] = []
        self._count = 0
        """Of header lines, those that are left out too."""
        self._method = b""
        self._version = b""
        self._once: dict[bytes, bytes] = {}
        """Headers that may be there once, and how the message is framed."""
        self._connection: list[tuple[bytes, bytes, bytes]] = []
        """Lines about the connection: name, value, and the line itself."""

    @property
    def begun(self) -> bool:
        return bool(self._lines)

    @property
    def line_bytes(self) -> int:
        """How long the next line may be, with its end."""
        return HEAD_BYTES - self.size_bytes if self._lines else REQUEST_LINE_BYTES

    def too_long(self) -> RequestRefused:
        """Why a line longer than `line_bytes` is refused."""
        if not self._lines:
            return RequestRefused(414, f"a request line has {REQUEST_LINE_BYTES} bytes at most")
        return RequestRefused(431, f"the head of a request has {HEAD_BYTES} bytes at most")

    def add(self, line: bytes) -> bool:
        """Take the next line, with its end. True: it was the last one. Raises `RequestRefused`."""
        if not self._lines:
            self._add_request_line(line)
        elif line == b"\r\n":
            self._finish()
            return True
        else:
            self._add_header(line)
        self.size_bytes += len(line)
        return False

    def encode(self) -> bytes:
        """The whole head as a parser may see it."""
        return b"".join(self._lines)

    def _add_request_line(self, line: bytes) -> None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "this is no HTTP request")
        method, major, minor = match.groups()
        if major != b"1" or minor not in b"01":
            raise RequestRefused(505, "HTTP/1.1 and HTTP/1.0 are served")
        if method == b"CONNECT":
            raise RequestRefused(501, "this is no proxy")
        self._method, self._version = method, minor
        self._lines.append(line)

    def _add_header(self, line: bytes) -> None:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "a header line must be name, colon, value")
        if self._count == HEADER_LINES:
            raise RequestRefused(431, f"a request has {HEADER_LINES} header lines at most")
        self._count += 1
        name = match[1].lower()
        if name in _CONNECTION:
            self._connection.append((name, match[2].lower(), line))
            if name != b"connection":
                return  # only `_finish` knows whether an upgrade is ours
        elif name in _ONCE:
            if name in self._once:
                raise RequestRefused(400, f"{name.decode()} is there twice")
            self._once[name] = match[2].strip(b" \t")
        self._lines.append(line)

    def _finish(self) -> None:
        self.body_bytes = self._framing()
        self.upgrades = self._wants_websocket()
        if self.upgrades:
            others = {line for name, _, line in self._connection if name == b"connection"}
            self._lines = [line for line in self._lines if line not in others]
            self._lines += (b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n")
        self._lines.append(b"\r\n")

    def _framing(self) -> int | None:
        """RFC 9112, section 6.3, without what a proxy and we could understand differently."""
        length, coding = self._once.get(b"content-length"), self._once.get(b"transfer-encoding")
        if coding is not None:
            if length is not None or self._version == b"0":
                raise RequestRefused(400, "a body has either a length or, with HTTP/1.1, chunks")
            if coding.lower() != b"chunked":
                raise RequestRefused(501, "the one transfer coding is chunked")
            return None
        if length is None:
            return 0
        if _LENGTH.fullmatch(length) is None:
            raise RequestRefused(400, "content-length is a number of bytes")
        return int(length)

    def _wants_websocket(self) -> bool:
        if self._method != b"GET" or self._version != b"1" or self.body_bytes != 0 or not self._connection:
            return False
        return b"upgrade" in self._tokens(b"connection") and b"websocket" in self._tokens(b"upgrade")

    def _tokens(self, wanted: bytes) -> set[bytes]:
        values = (value for name, value, _ in self._connection if name == wanted)
        return {token.strip(b" \t") for value in values for token in value.split(b",")}
