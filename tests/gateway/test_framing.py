"""The frame decoder without sockets: which bytes are which messages, and what ends a connection with which code."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.utils import apply_mask

from app.gateway.framing import (
    FRAGMENTS,
    TURN_BYTES,
    TURN_FRAMES,
    Event,
    FrameDecoder,
    FrameEvent,
    text_head,
)
from tests.gateway.serving import text

MAX_BYTES = 200
HEAD_BYTES = 14
"""The longest head of a frame: two bytes, eight of length, four of mask."""
KEY = b"\x01\x02\x03\xff"
BINARY, PING, PONG, CLOSED = FrameEvent.BINARY, FrameEvent.PING, FrameEvent.PONG, FrameEvent.CLOSED


def protocol() -> Protocol:
    return ServerProtocol(state=State.OPEN, max_size=MAX_BYTES)


def decoder() -> FrameDecoder:
    return FrameDecoder(protocol())


def masked(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=True) for frame in frames)


def forged(first: int, payload: bytes, *, mask: bool = True) -> bytes:
    """Also frames that `websockets` would not write; `first` is FIN, RSV bits and opcode."""
    size = len(payload)
    head = bytes([first, min(size, 126) | (0x80 if mask else 0)]) + (size.to_bytes(2, "big") if size > 125 else b"")
    return head + (KEY + apply_mask(payload, KEY) if mask else payload)


def close_frame(code: int) -> Frame:
    return Frame(Opcode.CLOSE, code.to_bytes(2, "big"))


def events_of(decoder: FrameDecoder, pieces: Iterable[bytes]) -> list[Event]:
    """Where a turn is over, the next one begins."""
    events: list[Event] = []
    for piece in pieces:
        event = decoder.receive(piece)
        while event is not None or decoder.turn_over:
            events += [] if event is None else [event]
            event = decoder.next_turn() if decoder.turn_over else decoder.next_event()
    return events


def answered(decoder: FrameDecoder, pieces: Iterable[bytes]) -> tuple[list[Event], bytes]:
    """The events, and what a connection would send: after each ping, and after the end."""
    events: list[Event] = []
    sent = b""
    for piece in pieces:
        event = decoder.receive(piece)
        while event is not None:
            events.append(event)
            sent += decoder.data_to_send() if event in (PING, CLOSED) else b""
            event = decoder.next_event()
    return events, sent


def frames_in(data: bytes) -> list[Frame]:
    """What a server sent."""
    reader, frames = StreamReader(), []
    reader.feed_data(data)
    while len(reader.buffer):
        parsing = Frame.parse(reader.read_exact, mask=False)
        try:
            next(parsing)
        except StopIteration as done:
            frames.append(done.value)
    return frames


def code_of(data: bytes) -> int:
    """With which code a server closed."""
    frame = frames_in(data)[-1]
    assert frame.opcode is Opcode.CLOSE
    return int.from_bytes(frame.data[:2], "big")


# -- what arrives -----------------------------------------------------------------------------------------------------

GRUESS = "grüß".encode()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (masked(text("")), [b""]),
        (masked(text("x" * 125), text("x" * 126)), [b"x" * 125, b"x" * 126]),
        (masked(text("x" * MAX_BYTES)), [b"x" * MAX_BYTES]),
        (masked(text(GRUESS)), [GRUESS]),
        (masked(text(GRUESS[:3], fin=False), text(GRUESS[3:], opcode=Opcode.CONT), text("next")), [GRUESS, b"next"]),
        (masked(text(b"", fin=False), text(b"", fin=False, opcode=Opcode.CONT), text(b"", opcode=Opcode.CONT)), [b""]),
        (masked(text("a", fin=False), Frame(Opcode.PING, b"p"), text("b", opcode=Opcode.CONT)), [PING, b"ab"]),
        (masked(Frame(Opcode.BINARY, b"\xff")), [BINARY]),
        (masked(Frame(Opcode.BINARY, b"\xff", False), text(b"\xfe", opcode=Opcode.CONT), text("t")), [BINARY, b"t"]),
        (masked(text("a"), Frame(Opcode.PONG, b"beat"), text("b")), [b"a", PONG, b"b"]),
        (masked(text("a"), close_frame(1000), text("late")), [b"a", CLOSED]),
    ],
    ids=[
        "empty", "two lengths", "largest", "not ASCII", "fragments cut a character", "empty fragments",
        "ping in fragments", "binary", "binary in fragments", "pong", "close",
    ],
)  # fmt: skip
def test_messages_come_whole_and_in_order(stream: bytes, events: list[Event]) -> None:
    assert events_of(decoder(), [stream]) == events
    assert events_of(decoder(), [bytes([byte]) for byte in stream]) == events


def test_a_ping_is_answered_with_its_payload_and_a_pong_keeps_its_own() -> None:
    under_test = decoder()
    assert events_of(under_test, [masked(Frame(Opcode.PING, b"beat"), Frame(Opcode.PONG, b"back"))]) == [PING, PONG]
    [pong] = frames_in(under_test.data_to_send())
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"beat")
    assert under_test.last_pong == b"back"
    assert under_test.data_to_send() == b""


def test_the_client_s_close_is_answered_with_its_code() -> None:
    under_test = decoder()
    assert under_test.open
    assert events_of(under_test, [masked(close_frame(1001))]) == [CLOSED]
    assert code_of(under_test.data_to_send()) == 1001
    assert not under_test.open


# -- what ends a connection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (masked(text(b"\xff\xfe")), 1007),
        (masked(text(b"\xc3", fin=False), text(b"x", opcode=Opcode.CONT)), 1007),
        (masked(text("x" * (MAX_BYTES + 1))), 1009),
        (masked(text("x" * MAX_BYTES, fin=False), text("x", opcode=Opcode.CONT)), 1009),
        (b"\x81\xff" + (1 << 40).to_bytes(8, "big"), 1009),
        (masked(text("x", opcode=Opcode.CONT)), 1002),
        (masked(text("x", fin=False), text("y")), 1002),
        (forged(0xC1, b"x"), 1002),
        (forged(0xA1, b"x"), 1002),
        (forged(0x83, b"x"), 1002),
        (forged(0x81, b"bare", mask=False) + masked(text("masked")), 1002),
        (forged(0x09, b"x"), 1002),
        (forged(0x89, b"x" * 126), 1002),
        (masked(Frame(Opcode.CLOSE, b"\x03")), 1002),
        (masked(close_frame(1005)), 1002),
        (masked(text("x", fin=False), close_frame(1000)), 1002),
    ],
    ids=[
        "utf-8", "utf-8 in fragments", "big", "big in fragments", "huge, of which only the length has come",
        "no start", "no end", "rsv1", "rsv2", "opcode", "not masked", "ping in fragments", "long ping",
        "short close", "close with a code that is never sent", "close in a message",
    ],
)  # fmt: skip
def test_a_client_that_breaks_the_protocol_is_told_the_code(stream: bytes, code: int) -> None:
    for pieces in ([stream], [bytes([byte]) for byte in stream]):
        under_test = decoder()
        assert events_of(under_test, [masked(text("before")), *pieces, masked(text("after"))]) == [b"before", CLOSED]
        assert code_of(under_test.data_to_send()) == code
        assert not under_test.open


def test_a_connection_that_is_failed_from_our_side_says_nothing_more() -> None:
    under_test = decoder()
    assert under_test.receive(masked(text("one"), text("two"))) == b"one"
    under_test.fail(1008, "policy")
    assert under_test.next_event() is None
    assert under_test.receive(masked(text("three"))) is None
    assert code_of(under_test.data_to_send()) == 1008


# -- our own close ----------------------------------------------------------------------------------------------------


def test_after_our_close_messages_are_dropped_until_the_client_has_closed() -> None:
    under_test = decoder()
    assert under_test.receive(masked(text("one"), text("two"), Frame(Opcode.PING, b"p"))) == b"one"
    under_test.close(1013, "too slow")
    assert code_of(under_test.data_to_send()) == 1013
    assert under_test.next_event() is PING
    assert events_of(under_test, [masked(Frame(Opcode.BINARY, b"b")), masked(text("three"))]) == []
    assert events_of(under_test, [masked(close_frame(1013), text("late"))]) == [CLOSED]
    under_test.close(1008, "again")
    assert b"again" not in under_test.data_to_send()


def test_a_message_that_our_close_cuts_in_two_does_not_spoil_the_handshake() -> None:
    for whole in (masked(text("half of it")), masked(text("a", fin=False), text("b", opcode=Opcode.CONT))):
        for at in range(1, len(whole)):
            under_test = decoder()
            assert events_of(under_test, [whole[:at]]) == []
            under_test.close(1012, "restart")
            assert events_of(under_test, [whole[at:], masked(close_frame(1012))]) == [CLOSED]
            assert code_of(under_test.data_to_send()) == 1012, "no failure follows"


# -- however the bytes are cut ----------------------------------------------------------------------------------------

GROUPS = [
    masked(text("plain"), text("")),
    masked(text("a", fin=False), text("b", opcode=Opcode.CONT)),
    masked(text("c", fin=False), Frame(Opcode.PING, b""), text("d", opcode=Opcode.CONT)),
    masked(Frame(Opcode.BINARY, b"\xff", False), text("e", opcode=Opcode.CONT)),
    masked(text("f" * MAX_BYTES), Frame(Opcode.PONG, b"g")),
]
payloads = st.binary(max_size=8) | st.text(max_size=8).map(str.encode) | st.just(b"x" * 150)
opcodes = st.sampled_from([1, 1, 1, 1, 2, 0, 0, 9, 10, 8, 3])
first_bytes = st.builds(lambda fin, opcode: fin | opcode, st.sampled_from([0x80, 0x80, 0x80, 0x00, 0xC0]), opcodes)
frames = st.builds(forged, st.just(0x81) | first_bytes, payloads, mask=st.just(True)) | st.builds(
    lambda code: masked(close_frame(code)), st.sampled_from([1000, 1001, 1005])
)


@st.composite
def cuts(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    at = sorted(draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=8)))
    return [stream[begin:end] for begin, end in zip([0, *at], [*at, len(stream)], strict=True)]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(GROUPS) | frames, max_size=8).map(b"".join), st.data())
def test_any_cut_of_any_stream_gives_what_websockets_alone_makes_of_it(stream: bytes, data: st.DataObject) -> None:
    """Valid streams and broken ones: the same events, and byte for byte the same answer."""
    under_test = decoder()
    assert answered(under_test, data.draw(cuts(stream))) == by_websockets_alone(stream)


def by_websockets_alone(stream: bytes) -> tuple[list[Event], bytes]:
    """The reference: every byte through `websockets`, one at a time, and messages put together from its frames."""
    reference = protocol()
    events: list[Event] = []
    parts: list[bytes] = []
    binary = False
    for at in range(len(stream)):
        reference.receive_data(stream[at : at + 1])
        if reference.parser_exc is not None:
            events.append(CLOSED)
            break
        for frame in reference.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
                events.append({Opcode.PING: PING, Opcode.PONG: PONG, Opcode.CLOSE: CLOSED}[frame.opcode])
                continue
            if frame.opcode is not Opcode.CONT:
                parts, binary = [], frame.opcode is Opcode.BINARY
            parts.append(bytes(frame.data))
            if frame.fin:
                events.append(BINARY if binary else b"".join(parts))
        if events and isinstance(events[-1], bytes) and not _is_utf8(events[-1]):
            reference.fail(1007, "a text message must be UTF-8")
            events[-1] = CLOSED
        if events and events[-1] is CLOSED:
            break
    return events, b"".join(reference.data_to_send())


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# -- what a client may cost -------------------------------------------------------------------------------------------


def test_only_the_newest_ping_is_answered_when_nothing_could_be_sent() -> None:
    under_test = decoder()
    pings = [Frame(Opcode.PING, b"%d" % number) for number in range(50)]
    assert events_of(under_test, [masked(*pings)]) == [PING] * 50
    [pong] = frames_in(under_test.data_to_send())
    assert bytes(pong.data) == b"49"


def test_a_pong_that_waits_leaves_before_the_close() -> None:
    under_test = decoder()
    assert events_of(under_test, [masked(Frame(Opcode.PING, b"p"), close_frame(1000))]) == [PING, CLOSED]
    assert [frame.opcode for frame in frames_in(under_test.data_to_send())] == [Opcode.PONG, Opcode.CLOSE]


SMALL = {
    "texts": masked(text("x")),
    "pings": masked(Frame(Opcode.PING, b"")),
    "pongs": masked(Frame(Opcode.PONG, b"")),
    "binaries": masked(Frame(Opcode.BINARY, b"")),
    "messages in two": masked(text("", fin=False), text("x", opcode=Opcode.CONT)),
}


@pytest.mark.parametrize("frame", SMALL.values(), ids=SMALL.keys())
def test_a_turn_handles_a_bounded_number_of_frames(frame: bytes) -> None:
    count = 1000
    under_test, turns, events = decoder(), 1, 0
    event = under_test.receive(frame * count)
    in_turn = 0
    while event is not None or under_test.turn_over:
        if event is not None:
            events, in_turn = events + 1, in_turn + 1
            assert in_turn <= TURN_FRAMES
            event = under_test.next_event()
        else:
            turns, in_turn = turns + 1, 0
            event = under_test.next_turn()
    assert events == count
    assert turns >= count // TURN_FRAMES


def test_a_turn_handles_a_bounded_number_of_bytes() -> None:
    under_test = FrameDecoder(ServerProtocol(state=State.OPEN, max_size=TURN_BYTES))
    large = masked(text("x" * (TURN_BYTES // 4)))
    assert under_test.receive(large * 8) is not None
    in_turn = 1
    while under_test.next_event() is not None:
        in_turn += 1
    assert in_turn == 4
    assert under_test.turn_over


@pytest.mark.parametrize(
    ("stream", "cost"),
    [
        (masked(text("x" * MAX_BYTES)), 0),
        (masked(Frame(Opcode.PING, b"")), 2),
        (masked(Frame(Opcode.PONG, b"x" * 125)), 2),
        (masked(Frame(Opcode.BINARY, b"x" * MAX_BYTES)), 2),
        (masked(text("a", fin=False), text("", fin=False, opcode=Opcode.CONT), text("b", opcode=Opcode.CONT)), 6),
    ],
    ids=["a whole text costs its session", "ping", "pong", "binary", "three fragments"],
)
def test_a_frame_costs_one_and_one_for_each_kib(stream: bytes, cost: int) -> None:
    under_test = decoder()
    events_of(under_test, [stream])
    assert under_test.cost == cost


def test_a_large_frame_costs_more() -> None:
    under_test = FrameDecoder(ServerProtocol(state=State.OPEN, max_size=1 << 20))
    events_of(under_test, [masked(Frame(Opcode.BINARY, b"x" * 10_000))])
    assert under_test.cost == 1 + 10


@pytest.mark.parametrize("piece", ["", "x"], ids=["empty", "of one byte"])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_message_has_a_bounded_number_of_fragments(piece: str, opcode: Opcode) -> None:
    def message(fragments: int) -> bytes:
        more = [text(piece, fin=False, opcode=Opcode.CONT)] * (fragments - 2)
        return masked(text(piece, fin=False, opcode=opcode), *more, text(piece, opcode=Opcode.CONT))

    allowed = decoder()
    whole = BINARY if opcode is Opcode.BINARY else (piece * FRAGMENTS).encode()
    assert events_of(allowed, [message(FRAGMENTS)]) == [whole]
    refused = decoder()
    assert events_of(refused, [message(FRAGMENTS + 1)]) == [CLOSED]
    assert code_of(refused.data_to_send()) == 1008


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=30))
def test_any_bytes_are_read_within_a_bound(pieces: list[bytes]) -> None:
    under_test = decoder()
    for piece in pieces:
        events_of(under_test, [piece])
        assert under_test.buffered_bytes < MAX_BYTES + HEAD_BYTES


# -- the other direction ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_the_head_of_a_text_frame_is_the_one_that_websockets_writes(size: int) -> None:
    payload = b"x" * size
    assert text_head(size) + payload == text(payload).serialize(mask=False)
