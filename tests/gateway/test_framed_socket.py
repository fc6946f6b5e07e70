"""The framed socket on a transport and a loop turned by hand: what is written when, and when it gives up waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from app.gateway.framed_socket import EARLY_MESSAGES, LINGER_S, FramedSocket
from app.gateway.framing import FrameDecoder
from tests.gateway.serving import text


@dataclass
class HandLoop:
    """Calls and timers that run when a test says so."""

    soon: list[Callable[[], None]] = field(default_factory=list)
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Cancellable:
        timer = (seconds, call)
        self.timers.append(timer)
        return Cancellable(lambda: self.timers.remove(timer))

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()


@dataclass
class Cancellable:
    cancel: Callable[[], None]


@dataclass
class Wire:
    """A transport that keeps what is written, one entry a write."""

    writes: list[bytes] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    buffered: int = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.ended.append("close")

    def abort(self) -> None:
        self.ended.append("abort")

    def write_eof(self) -> None:
        self.ended.append("end of writing")

    def get_write_buffer_size(self) -> int:
        return self.buffered


class Inbox:
    """A receiver that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.on_message: Callable[[], None] = lambda: None

    def receive(self, frame: str | bytes) -> None:
        self.heard.append(frame)
        self.on_message()

    def refuse_binary(self) -> None:
        self.heard.append("binary")

    def on_detached(self) -> None:
        self.heard.append("detached")


class Line:
    """One connection whose handshake is over."""

    def __init__(self) -> None:
        self.loop, self.wire, self.inbox = HandLoop(), Wire(), Inbox()
        self.decoder = FrameDecoder(ServerProtocol(state=State.OPEN))
        loop = cast(asyncio.AbstractEventLoop, self.loop)
        self.socket = FramedSocket(cast(asyncio.Transport, self.wire), loop, self.decoder, close_timeout_s=10.0)

    def hear(self, *frames: Frame) -> None:
        event = self.decoder.receive(b"".join(frame.serialize(mask=True) for frame in frames))
        while event is not None:
            self.socket.deliver(event)
            event = self.decoder.next_event()


CLOSE = Frame(Opcode.CLOSE, (1008).to_bytes(2, "big"))


def attached() -> Line:
    line = Line()
    assert line.socket.attach(line.inbox)
    return line


def frames(*contents: str) -> bytes:
    return b"".join(text(content).serialize(mask=False) for content in contents)


def test_frames_of_one_turn_leave_in_one_write() -> None:
    line = attached()
    for content in ("one", "two"):
        line.socket.send(content.encode())
    assert (line.wire.writes, line.socket.buffered_bytes()) == ([], 6)
    line.loop.turn()
    assert (line.wire.writes, line.socket.buffered_bytes()) == ([frames("one", "two")], 0)


def test_a_held_frame_waits_for_the_next_one() -> None:
    line = attached()
    line.socket.hold(b"ack")
    line.loop.turn()
    assert line.wire.writes == []
    line.socket.send(b"event")
    line.loop.turn()
    assert line.wire.writes == [frames("ack", "event")]


def test_a_pong_leaves_after_what_was_said_before_it() -> None:
    line = attached()
    line.socket.send(b"before")
    line.hear(Frame(Opcode.PING, b"beat"))
    assert line.wire.writes == [frames("before"), Frame(Opcode.PONG, b"beat").serialize(mask=False)]


def test_messages_before_the_session_wait_and_a_session_that_closes_hears_no_more_of_them() -> None:
    line = Line()
    line.hear(text("one"), Frame(Opcode.BINARY, b""), text("two"))

    def close_at_two() -> None:
        if line.inbox.heard[-1] == b"two":
            line.socket.close(1008, "enough")

    line.inbox.on_message = close_at_two
    line.hear(text("three"))
    assert line.socket.attach(line.inbox)
    assert line.inbox.heard == [b"one", "binary", b"two"]


def test_too_many_early_messages_end_the_connection() -> None:
    line = Line()
    line.hear(*[text("x")] * EARLY_MESSAGES)
    assert line.wire.ended == []
    line.hear(text("x"))
    assert line.wire.ended == ["end of writing"]
    assert not line.socket.attach(line.inbox)


def test_nothing_is_sent_after_our_close_and_a_client_that_does_not_answer_is_cut_off() -> None:
    line = attached()
    line.socket.close(1008, "policy")
    said = list(line.wire.writes)
    for act in (line.socket.send, line.socket.hold):
        act(b"late")
    line.socket.close(1013, "again")
    line.loop.turn()
    assert (line.wire.writes, line.inbox.heard) == (said, [])
    [(seconds, cut_off)] = line.loop.timers
    cut_off()
    assert (seconds, line.wire.ended) == (10.0, ["abort"])


def test_a_client_that_answers_our_close_is_not_cut_off() -> None:
    line = attached()
    line.socket.close(1008, "policy")
    line.hear(CLOSE)
    assert (line.loop.timers, line.wire.ended, line.inbox.heard) == ([], ["close"], [])


def test_a_transport_that_is_gone_is_told_once_and_leaves_no_timer() -> None:
    line = attached()
    line.socket.close(1008, "policy")
    line.socket.lost()
    assert line.loop.timers == []
    other = attached()
    other.socket.send(b"never read")
    other.socket.lost()
    other.socket.lost()
    other.loop.turn()
    assert (other.inbox.heard, other.wire.writes) == (["detached"], [])
    assert not other.socket.attach(other.inbox)


def test_the_client_s_close_is_told_and_answered() -> None:
    line = attached()
    line.socket.send(b"last words")
    line.hear(CLOSE, text("late"))
    assert line.inbox.heard == ["detached"]
    assert line.wire.writes == [frames("last words"), CLOSE.serialize(mask=False)]
    assert line.wire.ended == ["close"]


def test_binary_and_text_are_told_apart() -> None:
    line = attached()
    line.hear(Frame(Opcode.BINARY, b"text"), text("text"))
    assert line.inbox.heard == ["binary", b"text"]


def test_a_client_that_does_not_read_gets_no_pong_before_it_has_and_then_the_newest() -> None:
    line = attached()
    line.socket.reads_too_slowly = True
    for number in range(100):
        line.hear(Frame(Opcode.PING, b"%d" % number))
    assert line.wire.writes == []
    line.socket.caught_up()
    assert line.wire.writes == [Frame(Opcode.PONG, b"99").serialize(mask=False)]
    line.hear(Frame(Opcode.PING, b"now"))
    assert len(line.wire.writes) == 2


def test_a_client_that_is_refused_and_never_reads_why_is_cut_off() -> None:
    line = attached()
    line.wire.buffered = 1
    line.socket.fail(1008, "too many frames")
    assert (line.wire.ended, line.inbox.heard) == (["end of writing"], ["detached"])
    [(seconds, cut_off)] = line.loop.timers
    assert seconds == LINGER_S
    line.hear(text("more of it"))
    cut_off()
    assert (line.wire.ended, line.inbox.heard) == (["end of writing", "abort"], ["detached"])


def test_a_client_that_closes_and_does_not_read_the_answer_is_cut_off() -> None:
    line = attached()
    line.wire.buffered = 1
    line.hear(CLOSE)
    [(seconds, cut_off)] = line.loop.timers
    cut_off()
    assert (seconds, line.wire.ended) == (10.0, ["close", "abort"])


def test_a_client_that_is_refused_is_told_so_once() -> None:
    line = attached()
    line.socket.fail(1008, "too many frames")
    line.socket.fail(1008, "again")
    assert (len(line.wire.writes), line.wire.ended) == (1, ["end of writing"])
