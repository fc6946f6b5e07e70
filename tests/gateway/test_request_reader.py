"""What a client sends as a request: the same for every split of its bytes, bounded, and one meaning or none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.gateway.request_head import HEAD_BYTES, HEADER_LINES, REQUEST_LINE_BYTES, RequestRefused
from app.gateway.request_reader import CHUNK_LINES_BYTES, TRAILER_BYTES, RequestReader

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

Told = tuple[list[bytes], int | None]
"""The requests as a parser sees them, the last may be unfinished, and the status of a refusal."""


def told(pieces: list[bytes], most_kept: int = HEAD_BYTES) -> Told:
    """What a reader makes of bytes that come in these pieces; each request is answered at once."""
    reader, requests = RequestReader(), [b""]
    for piece in pieces:
        reader.receive(piece)
        try:
            while (part := reader.next_part()) is not None or reader.whole:
                requests[-1] += part or b""
                if reader.whole:
                    requests.append(b"")
                    reader.next_request()
        except RequestRefused as refused:
            return requests, refused.status
        assert reader.buffered_bytes <= most_kept
    return requests, None


def one(data: bytes) -> bytes:
    """The one request that these bytes are."""
    requests, status = told([data])
    assert status is None
    assert requests[1:] == [b""], "it is whole, and nothing follows"
    return requests[0]


def refused(data: bytes) -> int | None:
    return told([data])[1]


TOKENS = st.sampled_from(
    [
        *(GET, POST, CHUNKED, b"\r\n", b"\n", b"\r", b": ", b"Host: b\r\n", b"0\r\n", b"5\r\nhello\r\n", b"3;x=y\r\n"),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"hello", b"Upgrade: h2c\r\n", b"a: b\r\n"),
        *(b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n", b"x" * 9000, b"y: " + b"z" * 15_000 + b"\r\n"),
    ]
)


@st.composite
def split(draw: st.DrawFn) -> list[bytes]:
    data = b"".join(draw(st.lists(TOKENS | st.binary(max_size=20), max_size=12)))
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(split())
@example([POST + b"Content-Length: 5\r\n\r\nhe", b"llo", GET + b"\r\n"])
@example([CHUNKED + b"5;a=b\r\nhel", b"lo\r", b"\n0\r\nX: y\r", b"\n\r\n" + GET, b"\r\n"])
def test_every_split_of_the_same_bytes_says_the_same(pieces: list[bytes]) -> None:
    whole = told([b"".join(pieces)])
    assert told(pieces) == whole
    if sum(map(len, pieces)) < 500:
        assert told([bytes([byte]) for piece in pieces for byte in piece]) == whole


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    told(pieces)


# -- bounds -----------------------------------------------------------------------------------------------------------


def line_of(size: int) -> bytes:
    return b"GET /" + b"x" * (size - len(b"GET / HTTP/1.1\r\n")) + b" HTTP/1.1\r\n"


def head_of(size: int) -> bytes:
    return GET + b"A: " + b"x" * (size - len(GET) - len(b"A: \r\n")) + b"\r\n"


@pytest.mark.parametrize(
    ("good", "bad", "status"),
    [
        (line_of(REQUEST_LINE_BYTES) + b"\r\n", line_of(REQUEST_LINE_BYTES + 1), 414),
        (head_of(HEAD_BYTES - 2) + b"\r\n", head_of(HEAD_BYTES + 1), 431),
        (GET + b"a: b\r\n" * (HEADER_LINES - 1) + b"\r\n", GET + b"a: b\r\n" * HEADER_LINES, 431),
    ],
    ids=["request line", "head", "lines"],
)
def test_a_head_may_be_this_large_and_no_larger(good: bytes, bad: bytes, status: int) -> None:
    assert one(good) == good
    assert refused(bad) == status


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"GET /" + b"x" * REQUEST_LINE_BYTES, 414),
        (GET + b"A: " + b"x" * HEAD_BYTES, 431),
        (CHUNKED + b"5;" + b"x" * CHUNK_LINES_BYTES, 400),
        (CHUNKED + b"0\r\nA: " + b"x" * TRAILER_BYTES, 431),
    ],
    ids=["request line", "header", "chunk extension", "trailer"],
)
def test_a_line_that_never_ends_is_refused_when_its_bound_is_reached(begin: bytes, status: int) -> None:
    pieces = [begin[at : at + 1000] for at in range(0, len(begin), 1000)]
    assert told(pieces)[1] == status


def test_all_lines_between_the_chunks_of_a_request_count_together() -> None:
    lines = b"1;" + b"x" * 1000 + b"\r\na\r\n"
    assert refused(CHUNKED + lines * 10) is None
    assert refused(CHUNKED + lines * 20) == 400
    assert refused(CHUNKED + b"0\r\n" + b"a: b\r\n" * TRAILER_BYTES) == 431


# -- one meaning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (POST + b"Content-Length: 5, 5\r\n\r\n", 400),
        (POST + b"Content-Length: +5\r\n\r\n", 400),
        (POST + b"Content-Length: 0x5\r\n\r\n", 400),
        (POST + b"Content-Length:\r\n\r\n", 400),
        (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
        (POST + b"Content-Length : 5\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
        (POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (GET + b"Host: b\r\n", 400),
        (GET + b"A: b\r\n c\r\n", 400),
        (GET + b"A: b\n", 400),
        (GET + b"A: b\rc\r\n", 400),
        (GET + b"A: \x00\r\n", 400),
        (GET + b"no colon\r\n", 400),
        (GET + b": no name\r\n", 400),
        (b"GET /x HTTP/2.0\r\n", 505),
        (b"PRI * HTTP/2.0\r\n", 505),
        (b"GET /x\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n", 501),
        (b"\x16\x03\x01", 400),
        (b"get / HTTP/1.1\r\n", 400),
        (b"\r\n\r\n", 400),
        (CHUNKED + b"x\r\n", 400),
        (CHUNKED + b"-5\r\n", 400),
        (CHUNKED + b"5\r\nhelloXY", 400),
        (CHUNKED + b"5\nhello", 400),
        (CHUNKED + b"fffffffff\r\n", 400),
    ],
)
def test_what_could_be_understood_in_two_ways_is_refused(data: bytes, status: int) -> None:
    assert refused(data) == status


def test_a_body_belongs_to_its_request_and_the_next_request_follows_it() -> None:
    with_length = POST + b"Content-Length: 5\r\n\r\nGET /"
    assert told([b"\r\n" + with_length + GET + b"\r\n" + with_length]) == (
        [with_length, GET + b"\r\n", with_length, b""],
        None,
    )


def test_chunks_lose_their_extensions_and_trailers() -> None:
    sent = CHUNKED + b"5;name=value\r\nhello\r\n0A \r\n0123456789\r\n0;last\r\nX-Forwarded-User: eve\r\n\r\n"
    assert one(sent) == CHUNKED + b"5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n"


# -- upgrades ---------------------------------------------------------------------------------------------------------


def upgrading(data: bytes) -> tuple[bytes, bool]:
    reader = RequestReader()
    reader.receive(data)
    head = reader.next_part()
    assert head is not None
    return head, reader.upgrades


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n",
        b"Upgrade: h2c, websocket\r\nConnection: keep-alive\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
    ],
)
def test_an_upgrade_to_a_websocket_reaches_the_parser_as_one(lines: bytes) -> None:
    head, upgrades = upgrading(GET + lines + b"\r\n")
    assert upgrades
    assert head.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert head.lower().count(b"upgrade:") == head.lower().count(b"connection:") == 1


@pytest.mark.parametrize(
    "data",
    [
        POST
        + b"Content-Length: 5\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
        GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        GET + b"Upgrade: websocket\r\n\r\n",
        POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        GET + b"Content-Length: 5\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        GET.replace(b"1.1", b"1.0") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
    ids=["h2c with a body", "h2c", "no connection", "a post", "a body", "HTTP/1.0"],
)
def test_any_other_upgrade_is_left_out(data: bytes) -> None:
    head, upgrades = upgrading(data)
    assert not upgrades
    assert b"upgrade:" not in head.lower()
    assert b"http2-settings:" not in head.lower()
