"""The link: any split of the bytes gives the same frames, a broken peer is named, and `flush` is right about the
kernel.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field

import msgspec
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from app.errors import LinkError
from app.link.frames import Done, Failed, FromWorker, Pong, RunEvent, Started
from app.link.link import Batches, Link

numbers = st.integers(min_value=0, max_value=2**53)
frames = st.one_of(
    st.builds(Started, numbers, numbers, numbers),
    st.builds(RunEvent, numbers, numbers, numbers, st.binary(max_size=200)),
    st.builds(
        Done,
        numbers,
        numbers,
        numbers,
        st.text(max_size=20),
        st.binary(max_size=50),
        st.floats(0, 1e6),
        st.none() | st.binary(max_size=50),
        error=st.none() | st.tuples(st.text(), st.text(), st.text()),
    ),
    st.builds(Pong, numbers, numbers, numbers),
)
batches = st.lists(st.lists(frames, max_size=8), max_size=6)


def receiver(limit_bytes: int = 1 << 20) -> Batches[FromWorker]:
    return Batches(FromWorker, limit_bytes=limit_bytes)


@given(batches, st.data())
def test_any_split_of_the_bytes_gives_the_same_frames(sent: list[list[FromWorker]], data: st.DataObject) -> None:
    sender = receiver()
    stream = b"".join(piece for batch in sent for piece in sender.encode(list(batch)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = receiver()
    got: list[FromWorker] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[begin:end])
    assert got == [frame for batch in sent for frame in batch]
    assert reader.error is None
    assert not reader.incomplete


@given(st.lists(frames, max_size=4), st.binary(min_size=1, max_size=64), st.lists(frames, max_size=4))
def test_garbage_is_a_link_error_and_hides_nothing_that_came_before(
    before: list[FromWorker], garbage: bytes, after: list[FromWorker]
) -> None:
    def is_batch(body: bytes) -> bool:
        try:
            msgspec.msgpack.decode(body, type=list[FromWorker])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        return True

    sender, reader = receiver(), receiver()
    body = garbage if not is_batch(garbage) else b"\xc1"
    stream = b"".join(sender.encode(list(before))) + struct.pack("<I", len(body)) + body
    assert reader.feed(stream + b"".join(sender.encode(list(after)))) == before
    assert isinstance(reader.error, LinkError)
    assert reader.feed(b"".join(sender.encode([Pong(1, 2, 3)]))) == []


def test_a_batch_over_the_limit_is_refused_before_its_bytes_come() -> None:
    reader = receiver(limit_bytes=1000)
    assert reader.feed(struct.pack("<I", 1001)) == []
    assert str(reader.error) == "a batch has 1001 bytes; at most 1000 are allowed"


def test_many_frames_become_as_many_batches_as_the_limit_needs() -> None:
    sender, reader = receiver(limit_bytes=1000), receiver(limit_bytes=1000)
    sent: list[msgspec.Struct] = [RunEvent(1, 1, number, b"x" * 90) for number in range(100)]
    pieces = sender.encode(sent)
    assert len(pieces) > 1
    assert reader.feed(b"".join(pieces)) == sent
    with pytest.raises(LinkError, match="at most 1000"):
        sender.encode([Failed("x" * 2000)])


def test_a_large_batch_in_small_pieces_is_read_in_linear_time() -> None:
    sender, reader = receiver(limit_bytes=1 << 26), receiver(limit_bytes=1 << 26)
    stream = memoryview(b"".join(sender.encode([RunEvent(1, 1, 1, bytes(1 << 25))])))
    got: list[FromWorker] = []
    for at in range(0, len(stream), 4096):
        got += reader.feed(stream[at : at + 4096])
    assert [len(frame.body) for frame in got if isinstance(frame, RunEvent)] == [1 << 25]


@dataclass
class End:
    """One end of a link, and all that it was told."""

    link: Link[FromWorker] = field(init=False)
    batches: list[list[FromWorker]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Future[LinkError | None] = field(init=False)

    @classmethod
    def on(cls, connected: socket.socket, limit_bytes: int = 1 << 26) -> End:
        end = cls()
        end.closed = asyncio.get_running_loop().create_future()
        end.link = Link(
            connected, FromWorker, on_frames=end.hear, on_closed=end.closed.set_result, limit_bytes=limit_bytes
        )
        return end

    def hear(self, batch: list[FromWorker]) -> None:
        self.batches.append(batch)
        self.told.set()

    @property
    def frames(self) -> list[FromWorker]:
        return [frame for batch in self.batches for frame in batch]

    async def heard(self, count: int) -> list[FromWorker]:
        while len(self.frames) < count:
            self.told.clear()
            await asyncio.wait_for(self.told.wait(), 10)
        return self.frames


Scenario = Callable[[End, End], Coroutine[None, None, None]]


async def pair(scenario: Scenario) -> None:
    ours, theirs = socket.socketpair()
    a, b = End.on(ours), End.on(theirs)
    try:
        await scenario(a, b)
    finally:
        a.link.close()
        b.link.close()


@pytest.fixture(params=["asyncio", "uvloop"])
async def run(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[Scenario], Coroutine[None, None, None]]]:
    """Runs a scenario on either event loop; the gateway has uvloop, a worker has the standard one."""

    async def play(scenario: Scenario) -> None:
        if request.param == "asyncio":
            await pair(scenario)
        else:
            await asyncio.to_thread(lambda: uvloop.run(pair(scenario)))

    yield play


Run = Callable[[Scenario], Coroutine[None, None, None]]


async def test_frames_of_one_turn_leave_as_one_batch(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        sent = [Pong(number, 0, 0) for number in range(50)]
        for frame in sent:
            a.link.send(frame)
        assert await b.heard(50) == sent
        assert len(b.batches) == 1

    await run(scenario)


async def test_flush_has_handed_the_bytes_to_the_kernel_when_it_returns(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        a.link.send(Started(1, 2, 3))
        assert a.link.flush()
        b.link.read()  # no turn of the loop in between
        assert b.frames == [Started(1, 2, 3)]

    await run(scenario)


async def test_a_full_kernel_is_told_and_nothing_is_lost_or_reordered(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        sent: list[FromWorker] = [RunEvent(1, 1, number, bytes(1 << 16)) for number in range(64)]
        for frame in sent:
            a.link.send(frame)
        assert not a.link.flush()
        late = Pong(1, 1, 1)
        a.link.send(late)
        assert not a.link.flush()
        await a.link.drained()
        assert a.link.flush()
        assert await b.heard(65) == [*sent, late]

    await run(scenario)


async def test_frames_sent_while_the_kernel_drains_are_neither_lost_nor_reordered(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        a.link.send(RunEvent(1, 1, 1, bytes(1 << 23)))
        assert not a.link.flush()
        sent = 0
        while not b.frames:
            a.link.send(Pong(sent, 0, 0))  # in the same turn in which the kernel has room again
            sent += 1
            b.link.read()
            await asyncio.sleep(0)
        frames = await b.heard(sent + 1)
        assert frames[1:] == [Pong(number, 0, 0) for number in range(sent)]

    await run(scenario)


async def test_what_was_sent_before_the_end_is_heard_before_the_end(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        sent = [RunEvent(1, 1, number, bytes(1000)) for number in range(100)]
        for frame in sent:
            a.link.send(frame)
        assert a.link.flush()
        b.link.send(Pong(1, 1, 1))  # unread by `a`: the kernel will call it a reset, not an end
        assert b.link.flush()
        a.link.close()
        assert await asyncio.wait_for(b.closed, 10) is None
        assert b.frames == sent

    await run(scenario)


async def test_to_send_to_a_dead_peer_loses_nothing_that_it_said(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        a.link.send(Pong(7, 7, 7))
        assert a.link.flush()
        a.link.close()
        b.link.send(Pong(1, 1, 1))
        b.link.flush()
        await b.link.drained()
        assert await asyncio.wait_for(b.closed, 10) is None
        assert b.frames == [Pong(7, 7, 7)]

    await run(scenario)


async def test_garbage_and_half_a_batch_close_the_link_with_a_link_error(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        for stream, text in ((b"\x01\x00\x00\x00\xc1", "cannot be read"), (b"\x09\x00\x00\x00abc", "within a batch")):
            ours, theirs = socket.socketpair()
            end = End.on(theirs)
            ours.sendall(stream)
            ours.close()
            error = await asyncio.wait_for(end.closed, 10)
            assert text in str(error)
            assert end.link.closed

    await run(scenario)


async def test_own_close_is_silent_and_sending_after_it_does_nothing(run: Run) -> None:
    async def scenario(a: End, b: End) -> None:
        a.link.close()
        a.link.send(Pong(1, 1, 1))
        assert a.link.flush()
        assert await asyncio.wait_for(b.closed, 10) is None
        assert not a.closed.done()
        assert b.frames == []

    await run(scenario)
