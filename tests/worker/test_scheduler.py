"""What a worker says for what it is told: order, exactly one terminal event, cancelling, time-outs, documents."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from app.link.frames import (
    Barrier,
    BarrierPassed,
    Cancel,
    Check,
    Checked,
    Close,
    Done,
    Open,
    Ping,
    Pong,
    Run,
    RunEvent,
    SetFaults,
    Started,
)
from app.message_types import Request
from app.supervisor.contract import DOCUMENT_BYTES, AgentEvent, Opening, PathServing
from app.supervisor.errors import ThreadDenied
from app.worker.checking import make_sample, scratch_opening
from app.worker.failures import Failures
from app.worker.scheduler import Scheduler


@dataclass
class Wire:
    """An `Outgoing` whose kernel can be full."""

    queued: list[msgspec.Struct] = field(default_factory=list)
    sent: list[msgspec.Struct] = field(default_factory=list)
    full: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, frame: msgspec.Struct) -> None:
        if not self.queued:
            asyncio.get_running_loop().call_soon(self.flush)
        self.queued.append(frame)

    def flush(self) -> bool:
        if self.full:
            return False
        self.sent += self.queued
        self.queued = []
        self.told.set()
        return True

    async def drained(self) -> None:
        if not self.flush():
            await self.emptied.wait()

    def empty(self) -> None:
        self.full = False
        self.flush()
        self.emptied.set()

    async def until(self, condition: Callable[[list[msgspec.Struct]], bool]) -> list[msgspec.Struct]:
        async with asyncio.timeout(10):
            while not condition(self.sent):
                self.told.clear()
                await self.told.wait()
        return self.sent

    async def done(self, number: int = 1, session: int = 1) -> Done:
        def ended(frames: list[msgspec.Struct]) -> bool:
            return any(isinstance(each, Done) and (each.session, each.number) == (session, number) for each in frames)

        await self.until(ended)
        (found,) = [
            each for each in self.sent if isinstance(each, Done) and (each.session, each.number) == (session, number)
        ]
        return found


class Scripted:
    """A supervisor that does what the message says."""

    def __init__(self, world: World, opening: Opening) -> None:
        self.rerun_safe = True
        self.world = world
        self.opening = opening
        self.state: list[str] = []
        self.closed = False

    async def run(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        self.world.touched(request.content)
        if request.kind == "switch":
            yield AgentEvent("thread_switched", {"thread_id": request.thread_id})
            return
        yield AgentEvent("agent_started")
        word = request.content
        if word == "wait":
            await asyncio.get_running_loop().create_future()
        elif word == "stubborn":
            while not self.world.release.is_set():
                try:
                    await self.world.release.wait()
                except asyncio.CancelledError:
                    self.world.refused_to_end.set()
            yield AgentEvent("agent_thinking")
        elif word == "raise":
            raise RuntimeError("secret text of an exception")
        elif word == "exit":
            raise SystemExit(1)
        elif word == "cancelled":
            raise asyncio.CancelledError
        elif word == "denied":
            raise ThreadDenied("you have no such thread")
        elif word == "endless":
            return
        elif word == "flood":
            for _ in range(1000):
                yield AgentEvent("agent_thinking")
        elif word == "unwritable":
            yield AgentEvent("agent_completed", {"content": object()})
            return
        elif word == "huge event":
            yield AgentEvent("agent_completed", {"content": "x" * 600_000})
            return
        elif word == "twice":
            yield AgentEvent("agent_completed")
        self.state.append(word)
        yield AgentEvent("agent_completed", {"content": word})

    def export_state(self) -> bytes | None:
        if "huge state" in self.state:
            return bytes(DOCUMENT_BYTES + 1)
        return json.dumps(self.state).encode()

    def restore_state(self, document: bytes) -> None:
        self.state = json.loads(document)

    async def close(self) -> None:
        self.closed = True


@dataclass
class World:
    """A worker, the wire it speaks on, and its supervisors."""

    wire: Wire = field(default_factory=Wire)
    made: list[Scripted] = field(default_factory=list)
    contents: list[tuple[str, int]] = field(default_factory=list)
    faults: list[dict[str, float | int | str | bool]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    refused_to_end: asyncio.Event = field(default_factory=asyncio.Event)
    stops: asyncio.Event = field(default_factory=asyncio.Event)
    cannot_make: bool = False
    worker: Scheduler = field(init=False)

    async def make(self, opening: Opening) -> Scripted:
        if self.cannot_make:
            raise OSError("no connection to postgresql://user:password@host")
        self.made.append(Scripted(self, opening))
        return self.made[-1]

    def touched(self, content: str) -> None:
        """Notes a message, and how many frames the kernel had when it was touched."""
        self.contents.append((content, len(self.wire.sent)))

    def begin(self, timeout_s: float = 300.0, exports_state: bool = True) -> Scheduler:
        self.worker = Scheduler(
            PathServing(self.make, "b", exports_state),
            self.wire,
            failures=Failures(),
            set_faults=self.faults.append,
            on_stop=self.stops.set,
            sample_opening=scratch_opening(b"secret"),
            timeout_s=timeout_s,
        )
        return self.worker


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.begin()
    yield made
    made.release.set()
    await made.worker.stop(5)


def opened(session: int = 1, epoch: int = 1, document: bytes | None = None) -> Open:
    return Open(session, epoch, f"c{session}", f"user{session}", "t-1", 0.0, "websocket", document)


def run(content: str, number: int = 1, session: int = 1, epoch: int = 1, thread: str | None = None) -> Run:
    body = {"type": "chat", "payload": {"content": content}} | ({"thread_id": thread} if thread else {})
    return Run(session, epoch, number, f"m{number}", json.dumps(body).encode())


def event_of(frame: Done | RunEvent) -> dict[str, object]:
    decoded = json.loads(b"{" + frame.body)
    assert isinstance(decoded, dict)
    return decoded


async def test_a_message_is_started_then_its_events_then_done(world: World) -> None:
    world.worker.hear([opened(), run("hi")])
    done = await world.wire.done()
    assert [type(frame) for frame in world.wire.sent] == [Started, RunEvent, Done]
    event = event_of(done)
    assert event["type"] == "agent_completed"
    assert event["payload"] == {"content": "hi"}
    assert (event["user_id"], event["thread_id"], event["message_id"], event["number"]) == ("user1", "t-1", "m1", 1)
    assert event["run_id"] == event_of(next(e for e in world.wire.sent if isinstance(e, RunEvent)))["run_id"]
    assert (done.terminal, done.document, done.started, done.rerun_safe) == ("agent_completed", b'["hi"]', True, True)
    assert done.error is None
    assert done.restored
    assert 0 <= done.seconds < 10


async def test_the_kernel_has_every_started_of_a_batch_before_any_message_is_touched(world: World) -> None:
    world.wire.full = True
    world.worker.hear([*(opened(key) for key in range(20)), *(run("hi", session=key) for key in range(20))])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert world.contents == []
    world.wire.empty()
    for key in range(20):
        await world.wire.done(session=key)
    assert len(world.contents) == 20
    assert all(frames >= 20 for _, frames in world.contents)
    assert all(isinstance(frame, Started) for frame in world.wire.sent[:20])


async def test_a_cancel_before_started_leaves_the_message_untouched(world: World) -> None:
    world.worker.hear([opened(), run("hi"), Cancel(1, 1, 1)])
    done = await world.wire.done()
    assert (done.terminal, done.started) == ("agent_stopped", False)
    assert event_of(done)["type"] == "agent_stopped"
    assert world.contents == []
    assert not any(isinstance(frame, Started) for frame in world.wire.sent)
    world.worker.hear([run("hi", 2)])
    assert (await world.wire.done(2)).terminal == "agent_completed"


@pytest.mark.parametrize("full", [True, False])
async def test_a_cancel_between_started_and_the_first_touch_still_ends_it(world: World, full: bool) -> None:
    world.wire.full = full
    world.worker.hear([opened(), run("hi")])
    world.worker.hear([Cancel(1, 1, 1)])
    world.wire.empty()
    done = await world.wire.done()
    assert (done.terminal, done.started) == ("agent_stopped", True)
    assert world.contents == []


async def test_a_cancel_ends_a_running_message_and_a_stale_cancel_does_nothing(world: World) -> None:
    world.worker.hear([opened(), run("wait")])
    await world.wire.until(lambda frames: any(isinstance(frame, RunEvent) for frame in frames))
    world.worker.hear([Cancel(1, 1, 7), Cancel(1, 2, 1), Cancel(2, 1, 1), Cancel(1, 1, 1)])
    done = await world.wire.done()
    assert (done.terminal, done.started, done.error) == ("agent_stopped", True, None)
    world.worker.hear([run("hi", 2)])
    assert (await world.wire.done(2)).terminal == "agent_completed"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("raise", "internal"),
        ("exit", "internal"),
        ("cancelled", "internal"),
        ("endless", "internal"),
        ("unwritable", "internal"),
        ("huge event", "internal"),
        ("huge state", "internal"),
        ("twice", "internal"),
        ("denied", "access_denied"),
    ],
)
async def test_whatever_goes_wrong_is_one_sanitised_error_and_the_session_lives(
    world: World, content: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        world.worker.hear([opened(), run(content)])
        done = await world.wire.done()
    assert done.terminal == "error"
    assert done.error is not None
    assert done.error[0] == code
    payload = event_of(done)["payload"]
    assert isinstance(payload, dict)
    assert payload["code"] == code
    assert payload["reference"] == done.error[2]
    assert b"secret text" not in done.body
    assert "secret text" not in "".join(done.error)
    assert any(getattr(record, "reference", None) == done.error[2] for record in caplog.records)
    world.made[0].state.clear()
    world.worker.hear([run("hi", 2)])
    assert (await world.wire.done(2)).document == b'["hi"]'


async def test_a_supervisor_that_cannot_be_made_is_an_error_and_is_tried_again(world: World) -> None:
    world.cannot_make = True
    world.worker.hear([opened(document=b'["before"]'), run("hi")])
    done = await world.wire.done()
    assert done.terminal == "error"
    assert b"password" not in done.body
    world.cannot_make = False
    world.worker.hear([run("hi", 2)])
    assert (await world.wire.done(2)).document == b'["before", "hi"]'


async def test_a_document_is_restored_once_and_sent_back_only_when_changed(world: World) -> None:
    world.worker.hear([opened(document=b'["before"]'), run("hi")])
    assert (await world.wire.done()).document == b'["before", "hi"]'
    world.worker.hear([run("raise", 2)])
    done = await world.wire.done(2)
    assert done.document is None
    assert done.restored


async def test_a_document_that_cannot_be_restored_is_said_once(world: World) -> None:
    world.worker.hear([opened(document=b"no json"), run("hi")])
    first = await world.wire.done()
    assert (first.restored, first.document) == (False, b'["hi"]')
    assert [supervisor.closed for supervisor in world.made] == [True, False]
    world.worker.hear([run("again", 2)])
    assert (await world.wire.done(2)).restored


async def test_a_message_that_runs_too_long_ends_with_timeout() -> None:
    world = World()
    world.begin(timeout_s=0.05)
    world.worker.hear([opened(), run("wait")])
    done = await world.wire.done()
    assert done.error is not None
    assert (done.terminal, done.error[0]) == ("error", "timeout")
    await world.worker.stop(5)


async def test_a_message_that_ignores_its_timeout_is_given_up_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.worker.scheduler.FORCE_S", 0.05)
    world = World()
    world.begin(timeout_s=0.05)
    world.worker.hear([opened(document=b'["before"]'), run("stubborn")])
    done = await world.wire.done()
    assert world.refused_to_end.is_set()
    assert done.error is not None
    assert done.error[0] == "timeout"
    assert world.worker.sessions == 2  # the open one, and what still runs
    world.worker.hear([run("hi", 2)])
    assert (await world.wire.done(2)).document == b'["before", "hi"]'
    world.release.set()
    await world.worker.stop(5)
    assert world.worker.sessions == 0
    assert len([frame for frame in world.wire.sent if isinstance(frame, Done)]) == 2
    assert [frame.number for frame in world.wire.sent if isinstance(frame, RunEvent)] == [1, 2]
    assert [supervisor.closed for supervisor in world.made] == [True, True]


async def test_close_forgets_sessions_and_answers_nothing_for_them(world: World) -> None:
    world.worker.hear([opened(1), opened(2), opened(3), run("wait", session=1), run("hi", session=2)])
    await world.wire.done(session=2)
    before = len(world.wire.sent)
    world.worker.hear([Close([(1, 1), (2, 1), (3, 9)]), Barrier(1)])
    await world.wire.until(lambda frames: BarrierPassed(1, 2) in frames)  # 3, and what 1 still runs
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.worker.hear([Ping(5), Barrier(2)])
    await world.wire.until(lambda frames: BarrierPassed(2, 1) in frames)
    assert world.wire.sent[before:] == [BarrierPassed(1, 2), Pong(5, 1, 0), BarrierPassed(2, 1)]
    world.worker.hear([run("hi", 2, session=2)])
    world.worker.hear([Close([(3, 1)]), Barrier(3)])
    await world.wire.until(lambda frames: BarrierPassed(3, 0) in frames)
    assert len(world.contents) == 2


async def test_a_new_epoch_of_a_session_fences_the_old_one(world: World) -> None:
    world.worker.hear([opened(), run("stubborn")])
    await world.wire.until(lambda frames: any(isinstance(frame, RunEvent) for frame in frames))
    world.worker.hear([opened(epoch=2, document=b'["carried"]'), run("hi", epoch=2)])
    assert (await world.wire.done()).epoch == 2
    world.worker.hear([run("late", 2, epoch=1), Barrier(1)])
    assert world.wire.sent[-1] == BarrierPassed(1, 2)
    world.release.set()
    await world.worker.stop(5)
    assert {frame.epoch for frame in world.wire.sent if isinstance(frame, Done)} == {2}


async def test_a_second_message_of_a_busy_session_is_refused(world: World) -> None:
    world.worker.hear([opened(), run("wait"), run("hi", 2)])
    done = await world.wire.done(2)
    assert done.error is not None
    assert done.error[0] == "busy"


async def test_an_agent_that_never_waits_leaves_the_others_their_turn(world: World) -> None:
    world.worker.hear([opened(1), opened(2), run("flood", session=1), run("hi", session=2)])
    await world.wire.done(session=1)
    order = [frame.session for frame in world.wire.sent if isinstance(frame, Done)]
    assert order == [2, 1]
    assert sum(1 for frame in world.wire.sent if isinstance(frame, RunEvent) and frame.session == 1) == 1001


async def test_switching_threads_tells_the_gateway_and_a_named_thread_is_that_of_the_events(world: World) -> None:
    switch = Run(1, 1, 1, "m1", b'{"type":"switch_thread","payload":{"thread_id":"t-2"}}')
    world.worker.hear([opened(), switch])
    done = await world.wire.done()
    assert (done.terminal, done.thread_id, event_of(done)["thread_id"]) == ("thread_switched", "t-2", "t-2")
    world.worker.hear([run("hi", 2, thread="t-3")])
    named = await world.wire.done(2)
    assert (named.thread_id, event_of(named)["thread_id"]) == (None, "t-3")
    world.worker.hear([run("denied", 3, thread="t-of-another")])
    assert event_of(await world.wire.done(3))["thread_id"] == "t-2"


async def test_faults_are_replaced_and_checks_answered(world: World) -> None:
    world.worker.hear([SetFaults({"error_rate": 0.5}), Check(1, b'["x"]'), Check(2, b"no json")])
    await world.wire.until(lambda frames: len(frames) == 2)
    good, bad = sorted((frame for frame in world.wire.sent if isinstance(frame, Checked)), key=lambda each: each.count)
    assert good == Checked(1, True)
    assert (bad.ok, bad.reason.startswith("JSONDecodeError")) == (False, True)
    assert world.faults == [{"error_rate": 0.5}]
    assert all(supervisor.closed for supervisor in world.made)


async def test_the_sample_is_the_state_after_one_exchange(world: World) -> None:
    serving = PathServing(world.make, "b", exports_state=True)
    assert await make_sample(serving, scratch_opening(b"secret")) == b'["hello"]'
    assert world.made[-1].closed


async def test_closed_sessions_are_gone_without_the_garbage_collector(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "crossfade.worker")  # else pytest keeps the tracebacks, and with them the supervisors
    gc.disable()
    try:
        keys = range(200)
        world.worker.hear([*(opened(key) for key in keys), *(run("hi", session=key) for key in keys)])
        for key in keys:
            await world.wire.done(session=key)
        world.worker.hear([run("raise", 2, session=key) for key in keys])
        for key in keys:
            await world.wire.done(2, session=key)
        alive = [weakref.ref(supervisor) for supervisor in world.made]
        world.made.clear()
        world.worker.hear([Close([(key, 1) for key in keys])])
        await world.worker.stop(grace_s=20)
        await asyncio.sleep(0)
        assert sum(reference() is not None for reference in alive) == 0
    finally:
        gc.enable()
