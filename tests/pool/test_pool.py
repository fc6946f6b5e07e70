"""The pool of a path with real processes, sockets and signals: start, traffic, every way to die, restarts, the swap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Sized
from pathlib import Path

import psutil
import pytest
import uvloop

from app.errors import FactoryError
from app.link.frames import Cancel, Close, Done, FromWorker, RunEvent, Started
from app.link.link import Batches
from app.pool.memory import read_rss
from rollout.builds import BuildSource, Served
from tests.pool.recorder import PATIENCE_S, Recorder, chat, hosting, limits_of, opened, serving

pytestmark = pytest.mark.slow
PEOPLE = Path(__file__).parent / "people"


@pytest.fixture
def at_people_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory of somebody who has a package `acme` there."""
    monkeypatch.chdir(PEOPLE)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_worker_is_ready_and_runs_a_message(runner: Callable[[Coroutine[None, None, None]], None]) -> None:
    async def scenario() -> None:
        recorder = Recorder()
        async with hosting(recorder, build="b-7") as pool:
            worker = serving(pool)
            assert recorder.ups == [worker]
            assert (worker.build, worker.exports_state, recorder.unavailable) == ("b-7", True, [])
            assert worker.sample is not None
            assert b"hello" in worker.sample
            worker.send(opened())
            worker.send(chat("good day"))
            done = await recorder.done()
            assert recorder.content_of(done) == "good day"
            assert [type(frame) for frame in recorder.frames] == [Started, RunEvent, Done]
            os.kill(worker.pid, signal.SIGKILL)
            await recorder.until(lambda: recorder.downs)
            assert recorder.downs[0][1].reason == "killed"
            assert recorder.unavailable == [("ended by SIGKILL", 0)]
            assert recorder.order[-2:] == ["unavailable", "down"]
        assert not worker.alive

    runner(scenario())


async def test_frames_of_many_sessions_come_in_few_reads() -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        worker = serving(pool)
        for session in range(500):
            worker.send(opened(session))
            worker.send(chat("x", session))
        await recorder.until(lambda: sum(isinstance(frame, Done) for frame in recorder.frames) == 500)
        assert len(recorder.frames) == 1500
        assert len(recorder.reads) < 100
        firsts = recorder.frames[:500]
        assert all(isinstance(frame, Started) for frame in firsts)


async def test_cancel_before_and_after_started_close_and_barrier() -> None:
    recorder = Recorder()
    async with hosting(recorder, faults={"hang_on": "hang"}) as pool:
        worker = serving(pool)
        for frame in (opened(1), chat("hang", 1), opened(2), chat("never touched", 2), Cancel(2, 1, 1)):
            worker.send(frame)
        untouched = await recorder.done(2)
        assert (untouched.terminal, untouched.started) == ("agent_stopped", False)
        await recorder.started(1)
        worker.send(Cancel(1, 1, 1))
        stopped = await recorder.done(1)
        assert (stopped.terminal, stopped.started) == ("agent_stopped", True)
        assert await worker.barrier(PATIENCE_S) == 2
        worker.send(Close([(1, 1), (2, 1)]))
        assert await worker.barrier(PATIENCE_S) == 0


async def test_a_barrier_is_answered_after_all_that_was_sent_before_it() -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        worker = serving(pool)
        for session in range(300):
            worker.send(opened(session))
            worker.send(chat("x", session))
        assert await worker.barrier(PATIENCE_S) == 300
        assert sum(isinstance(frame, Started) for frame in recorder.frames) == 300


async def test_each_path_can_go_on_from_the_others_sample() -> None:
    async with hosting(Recorder(), path="v2") as stable, hosting(Recorder()) as canary:
        old, new = serving(stable), serving(canary)
        assert old.sample is not None
        assert new.sample is not None
        assert (await old.check(new.sample)).ok
        assert (await new.check(old.sample)).ok
        refused = await old.check(b"no document")
        assert not refused.ok
        assert refused.reason


async def test_what_a_killed_worker_said_is_heard_before_its_path_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, pairs = Recorder(), list[tuple[socket.socket, socket.socket]]()
    make = socket.socketpair

    def remember(*words: int) -> tuple[socket.socket, socket.socket]:
        pairs.append(make(*words))
        return pairs[-1]

    monkeypatch.setattr(socket, "socketpair", remember)
    async with hosting(recorder, limits_of(ping_s=PATIENCE_S)) as pool:  # a tick would read, too
        worker = serving(pool)
        for session in range(500):
            worker.send(opened(session))
            worker.send(chat("x", session))
        await recorder.until(lambda: sum(isinstance(frame, Done) for frame in recorder.frames) == 500)
        # Let the answers lie unread in the kernel: this turn of the loop does not end before the worker is dead. They
        # are more than one turn reads, so the end of the process is seen before the end of its words.
        for session in range(500):
            worker.send(chat("y" * 4000, session, number=2))
        ours, _ = pairs[-1]
        ended = asyncio.Event()

        def end() -> None:
            _end_with_answers_unread(worker.pid, ours)
            ended.set()

        # In the same turn, after the call in which the link gives the kernel what is queued.
        asyncio.get_running_loop().call_soon(end)
        await ended.wait()
        await recorder.until(lambda: recorder.downs)
        down = recorder.order.index("down")
        assert "frames" not in recorder.order[down:]
        second = [frame for frame in recorder.frames if isinstance(frame, Done) and frame.number == 2]
        assert len(second) == 500
        with pytest.raises(ConnectionError):
            await worker.barrier(1)
        worker.send(chat("z"))  # to nobody


def _end_with_answers_unread(pid: int, ours: socket.socket) -> None:
    """Kill the worker once all its answers lie in the kernel."""
    while _lying_in_the_kernel(ours) < 500:
        pass
    _kill_and_see_it_dead(pid)


def _kill_and_see_it_dead(pid: int) -> None:
    """Returns when the process has ended, and leaves it to its pool to be told."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _count(things: Sized, count: int) -> Callable[[], bool]:
    return lambda: len(things) == count


def _lying_in_the_kernel(connected: socket.socket) -> int:
    """How many `Done` of the worker have not been read yet."""
    with contextlib.suppress(BlockingIOError):
        unread = connected.recv(1 << 23, socket.MSG_PEEK)
        batches: Batches[FromWorker] = Batches(FromWorker)
        return sum(isinstance(frame, Done) for frame in batches.feed(unread))
    return 0


@pytest.mark.parametrize(
    ("number", "reason", "detail"),
    [
        (signal.SIGKILL, "killed", "ended by SIGKILL"),
        (signal.SIGSEGV, "crashed", "ended by SIGSEGV"),
    ],
)
async def test_a_death_by_a_signal_is_explained(number: signal.Signals, reason: str, detail: str) -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        os.kill(serving(pool).pid, number)
        await recorder.until(lambda: recorder.downs)
        (_, death) = recorder.downs[0]
        assert (death.reason, death.detail) == (reason, detail)


async def test_a_crash_in_the_middle_of_a_message_is_down_after_its_started() -> None:
    recorder = Recorder()
    async with hosting(recorder, faults={"crash_on": "crash"}) as pool:
        worker = serving(pool)
        worker.send(opened())
        worker.send(chat("crash"))
        await recorder.until(lambda: recorder.downs)
        assert recorder.frames == [Started(1, 1, 1)]
        assert recorder.downs[0][1].reason == "crashed"


async def test_barriers_and_checks_that_nobody_will_answer_end_with_the_worker() -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        worker = serving(pool)
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await worker.barrier(0.01)
        asked = [asyncio.ensure_future(worker.barrier(PATIENCE_S)), asyncio.ensure_future(worker.check(b"{}"))]
        await asyncio.sleep(0)
        os.kill(worker.pid, signal.SIGKILL)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]


async def test_a_stopped_worker_is_hung_killed_and_replaced() -> None:
    recorder = Recorder()
    async with hosting(recorder, limits_of(hang_s=0.5)) as pool:
        worker = serving(pool)
        os.kill(worker.pid, signal.SIGSTOP)
        await recorder.until(lambda: len(recorder.ups) == 2)
        (gone, death) = recorder.downs[0]
        assert gone is worker
        assert death.reason == "hung"
        assert "pings unanswered" in death.detail
        assert recorder.ups[1].restarts == 1


async def test_a_worker_in_a_busy_loop_is_hung_and_other_workers_are_not() -> None:
    recorder, other = Recorder(), Recorder()
    limits = limits_of(hang_s=0.5)
    async with (
        hosting(recorder, limits, faults={"busy_loop_on": "spin"}) as pool,
        hosting(other, path="v2") as stable,
    ):
        serving(pool).send(opened())
        serving(pool).send(chat("spin"))
        await recorder.until(lambda: recorder.downs)
        assert recorder.downs[0][1].reason == "hung"
        serving(stable).send(opened())
        serving(stable).send(chat("still here"))
        assert other.content_of(await other.done()) == "still here"
        assert other.downs == []


async def test_a_worker_that_answers_pings_but_starts_nothing_is_hung() -> None:
    recorder = Recorder()
    async with hosting(recorder, limits_of(unstarted_s=5)) as pool:
        assert pool.worker is not None
        recorder.unstarted_s = 5.1
        await recorder.until(lambda: recorder.downs)
        assert recorder.downs[0][1].reason == "hung"
        assert "has not started a message" in recorder.downs[0][1].detail
        recorder.unstarted_s = 0


async def test_a_worker_over_its_memory_is_ended() -> None:
    recorder = Recorder()
    async with hosting(Recorder()) as probe:
        resident = read_rss(serving(probe).pid)
    assert resident is not None
    limits = limits_of(memory_bytes=resident + (64 << 20))
    async with hosting(recorder, limits, faults={"leak_bytes": 128 << 20, "leak_on": "leak"}) as pool:
        serving(pool).send(opened())
        serving(pool).send(chat("fine"))
        await recorder.done()
        assert recorder.downs == []
        serving(pool).send(chat("leak", number=2))
        await recorder.until(lambda: recorder.downs)
        assert recorder.downs[0][1].reason == "memory"
        assert str(limits.memory_bytes) in recorder.downs[0][1].detail


async def test_restarts_are_counted_and_new_faults_stay_in_force() -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        pool.set_faults({"error_rate": 1.0})
        for session in (1, 2):
            worker = serving(pool)
            worker.send(opened(session))
            worker.send(chat("x", session))
            assert (await recorder.done(session)).terminal == "error"
            os.kill(worker.pid, signal.SIGKILL)
            await recorder.until(_count(recorder.ups, session + 1))
        assert pool.restarts == 2
        assert [worker.restarts for worker in recorder.ups] == [0, 1, 2]
        assert len({worker.pid for worker in recorder.ups}) == 3


async def test_a_crash_loop_stays_down_with_a_reason_until_it_is_reset() -> None:
    recorder = Recorder()
    async with hosting(recorder, crash_limit=2) as pool:
        for count in (1, 2):
            await recorder.until(_count(recorder.ups, count))
            os.kill(serving(pool).pid, signal.SIGKILL)
            await recorder.until(_count(recorder.downs, count))
        assert pool.worker is None
        assert recorder.unavailable == [
            ("ended by SIGKILL", 0),
            ("died 2 times in 600 s, the last time: ended by SIGKILL", 1),
        ]
        pool.reset()
        await recorder.until(lambda: len(recorder.ups) == 3)


def _children() -> set[int]:
    """Processes that this one has started and that live."""
    return {child.pid for child in psutil.Process().children()}  # type: ignore[no-untyped-call]


@pytest.mark.usefixtures("at_people_s")
async def test_a_slow_start_is_cancelled() -> None:
    recorder, before = Recorder(), _children()
    async with hosting(recorder, limits_of(start_s=0.3), start=False, factory="acme.never_loads:create") as pool:
        with pytest.raises(FactoryError, match=r"v3: not ready within 0\.3 s"):
            await pool.start()
        assert recorder.unavailable == [("v3: not ready within 0.3 s", 0)]
        assert _children() == before


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("acme:missing", "has no 'missing'"),
        ("no_such_package:create", "no module 'no_such_package'"),
        ("app.supervisor.core:create_supervisor_core", "app"),
        ("acme:raises", "not today"),
        ("not a factory", "is not a factory"),
    ],
)
@pytest.mark.usefixtures("at_people_s")
async def test_a_bad_factory_is_named_in_one_line(factory: str, reason: str) -> None:
    async with hosting(Recorder(), start=False, factory=factory, log_level="critical") as pool:
        with pytest.raises(FactoryError) as caught:
            await pool.start()
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
        assert pool.worker is None


async def test_an_interpreter_that_is_not_there_is_named() -> None:
    async with hosting(Recorder(), start=False, python="/no/such/python") as pool:
        with pytest.raises(FactoryError, match="cannot start /no/such/python: No such file"):
            await pool.start()


@pytest.mark.usefixtures("at_people_s")
async def test_people_s_own_factory_serves_from_the_working_directory() -> None:
    recorder = Recorder()
    async with hosting(recorder, factory="acme:create") as pool:
        serving(pool).send(opened())
        serving(pool).send(chat("words"))
        assert recorder.content_of(await recorder.done()) == "own: words"


async def test_a_candidate_is_adopted_beside_the_old_one_and_the_old_one_stopped() -> None:
    recorder = Recorder()
    async with hosting(recorder, build="old") as pool:
        old = serving(pool)
        old.send(opened(1))
        candidate = await pool.spawn_candidate(Served(BuildSource("builtin"), "new"))
        assert recorder.ups == [old]
        assert old.sample is not None
        assert (await candidate.check(old.sample)).ok
        assert pool.adopt(candidate) is old
        assert pool.worker is candidate
        old.send(chat("on the old one", 1))
        candidate.send(opened(2))
        candidate.send(chat("on the new one", 2))
        assert recorder.content_of(await recorder.done(1)) == "on the old one"
        assert recorder.content_of(await recorder.done(2)) == "on the new one"
        with pytest.raises(ValueError, match="serves the path"):
            await pool.stop_worker(candidate)
        await pool.stop_worker(old)
        assert [(worker, death.reason) for worker, death in recorder.downs] == [(old, "replaced")]
        os.kill(candidate.pid, signal.SIGKILL)
        await recorder.until(lambda: len(recorder.ups) == 3)
        assert recorder.ups[2].build == "new"


@pytest.mark.usefixtures("at_people_s")
async def test_a_candidate_that_fails_or_dies_leaves_the_path_as_it_was() -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        worker = serving(pool)
        with pytest.raises(FactoryError, match="not today"):
            await pool.spawn_candidate(Served(BuildSource("acme:raises")))
        candidate = await pool.spawn_candidate(Served(BuildSource("builtin")))
        os.kill(candidate.pid, signal.SIGKILL)
        with pytest.raises(ConnectionError):
            await candidate.barrier(PATIENCE_S)
        with pytest.raises(FactoryError, match="the new worker is gone: ended by SIGKILL"):
            pool.adopt(candidate)
        assert pool.worker is worker
        assert recorder.downs == []


async def test_stop_ends_workers_that_do_not_listen_and_tells_nobody() -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        worker = serving(pool)
        os.kill(worker.pid, signal.SIGSTOP)
        await pool.stop(grace_s=0.1)
        assert not worker.alive
        assert read_rss(worker.pid) is None
    assert recorder.downs == []
    assert len(recorder.ups) == 1


@pytest.mark.usefixtures("at_people_s")
async def test_a_worker_that_breaks_the_link_is_ended() -> None:
    recorder = Recorder()
    async with hosting(recorder, factory="acme:breaks_the_link") as pool:
        serving(pool).send(opened())
        serving(pool).send(chat("x"))
        await recorder.until(lambda: recorder.downs)
        assert recorder.downs[0][1].reason == "crashed"
        assert "cannot be read" in recorder.downs[0][1].detail or "a batch has" in recorder.downs[0][1].detail


async def test_memory_figures_come_with_a_baseline() -> None:
    async with hosting(Recorder()) as pool:
        worker = serving(pool)
        async with asyncio.timeout(PATIENCE_S):
            while worker.memory.baseline is None:
                await worker.barrier(PATIENCE_S)
        assert worker.memory.share is not None
        assert worker.memory.rss_bytes is not None
        assert 0 < worker.memory.share.anonymous_bytes < worker.memory.share.pss_bytes <= worker.memory.rss_bytes * 1.5
