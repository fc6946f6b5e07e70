"""Sweeps over many sessions, and what a cell may call verified: only what was observed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from app.gateway import sweep as sweep_module
from app.gateway.session import CANCEL_GRACE_S, Session, SessionState
from app.gateway.sweep import SLICE_S, SweepReport
from app.link.frames import RunEvent
from app.metrics import counters
from app.metrics.counters import ADMISSIONS
from app.pool.state import PathState
from rollout.assign import FlagRule, View
from tests.gateway.harness import HandCell, flag, frame, with_settings

LOCKED = View(locked=True, flag=flag(100))
SESSION_COST_S = 10e-6


def connect_users(cell: HandCell, size: int) -> list[Session]:
    return [cell.connect(f"u{number}")[0] for number in range(1, size + 1)]


# -- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_sweep_of_ten_thousand_never_holds_the_loop_longer_than_its_slice() -> None:
    hashed = 0

    def slow_hash(user: str) -> int:
        nonlocal hashed
        hashed += 1
        cell.time.now += SESSION_COST_S
        return 50

    cell = HandCell(bucket_of=slow_hash)
    connect_users(cell, 10_000)
    hashed, began = 0, cell.now
    sweep = cell.apply(View(flag=FlagRule("other", 100, True, True, key=("other",))))
    turns = [cell.now - began]
    assert 0 < sweep.decided < 10_000
    while cell.moving():
        began = cell.now
        cell.time.turn()
        turns.append(cell.now - began)
    assert hashed == len(cell.index.on["v3"]) == 10_000
    assert max(turns) <= SLICE_S + 32 * SESSION_COST_S
    assert len(turns) >= 10_000 * SESSION_COST_S / SLICE_S - 1


def test_new_sessions_and_messages_follow_the_new_view_before_the_sweep_reaches_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = HandCell(percentage=100)
    sessions = connect_users(cell, 1000)
    monkeypatch.setattr(sweep_module, "SLICE_S", -1.0)
    cell.apply(LOCKED, rollback=True)
    last = sessions[-1]
    assert last.path == "v3", "its turn has not come"
    last.receive(frame())
    assert (cell.v3.runs, cell.v2.run.session) == ([], last.key)
    assert cell.connect("new")[0].path == "v2"
    cell.advance(0)
    assert not cell.index.on["v3"]


def test_the_counts_of_a_sweep_say_who_is_to_move_and_who_has() -> None:
    cell = HandCell(bucket_of=lambda user: int(user.removeprefix("u")))
    sessions = connect_users(cell, 100)
    sessions[10].receive(frame())
    sweep = cell.apply(View(flag=flag(30)))
    assert (sweep.decided, sweep.to_move, sweep.moved) == (100, 30, 29)
    assert cell.moving() == 1
    cell.v2.work()
    assert cell.moving() == 0
    assert {row.user_id for row in cell.buckets() if row.path == "v3"} == {f"u{number}" for number in range(1, 31)}


def test_a_user_s_sessions_move_alike_and_every_one_has_its_reason() -> None:
    cell = HandCell(percentage=0)
    connect_users(cell, 3)
    cell.connect("u1")
    cell.apply(View(flag=flag(0), pins={"u1": "v3"}))
    assert [(view.path, view.reason) for view in cell.sessions_of("u1")] == [("v3", "pinned")] * 2
    assert cell.path_state("v3").users == 1
    assert [view.reason for view in cell.sessions() if view.user_id != "u1"] == ["flag", "flag"]


def test_a_paced_ramp_hands_over_its_share_a_second_and_is_overtaken_by_a_rollback() -> None:
    cell = HandCell()
    connect_users(cell, 50)
    sweep = cell.apply(View(flag=flag(100)), per_second=100)
    assert (sweep.to_move, len(cell.index.on["v3"])) == (50, 10)
    assert cell.moving() == 40
    cell.advance(0.1)
    assert len(cell.index.on["v3"]) == 20
    assert cell.connect("new")[0].path == "v3", "new sessions are never paced"
    cell.apply(LOCKED, rollback=True)
    assert (len(cell.index.on["v3"]), cell.moving()) == (0, 0)
    cell.advance(1)
    assert len(cell.index.on["v3"]) == 0


@pytest.mark.parametrize("per_second", [1, 4, 9, 10, 12, 15, 19, 20, 333])
def test_a_paced_ramp_keeps_its_pace_to_the_session(per_second: int) -> None:
    cell = HandCell()
    connect_users(cell, 5 * per_second)
    cell.apply(View(flag=flag(100)), per_second=per_second)
    first = len(cell.index.on["v3"])
    assert first == max(1, per_second // 10)
    cell.advance(0.05)  # past the turn that falls on the second
    for second in (1, 2, 3):
        cell.advance(1)
        assert abs(len(cell.index.on["v3"]) - first - second * per_second) <= 1


def test_a_paced_ramp_makes_up_for_a_short_pause_and_not_for_a_long_one() -> None:
    cell = HandCell()
    connect_users(cell, 100)
    cell.apply(View(flag=flag(100)), per_second=10)
    cell.time.now += 0.5
    cell.time.turn()
    assert len(cell.index.on["v3"]) == 1 + 5
    cell.time.now += 60
    cell.time.turn()
    assert len(cell.index.on["v3"]) == 1 + 5 + 10


def test_a_fast_ramp_leaves_room_for_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = HandCell()
    connect_users(cell, 1000)
    monkeypatch.setattr(sweep_module, "SLICE_S", -1.0)
    cell.apply(View(flag=flag(100)), per_second=1_000_000)
    for _ in range(1000 + 1000 // 32):
        before = len(cell.index.on["v3"])
        cell.time.turn()
        assert len(cell.index.on["v3"]) - before <= 1, "the slice was over after each session"
    assert len(cell.index.on["v3"]) == 1000


def test_a_paced_ramp_does_not_go_on_to_a_path_that_died() -> None:
    cell = HandCell()
    sessions = connect_users(cell, 20)
    cell.apply(View(flag=flag(100)), per_second=100)
    cell.v3.die()
    cell.advance(1)
    assert cell.moving() == 0
    assert {(session.path, session.state) for session in sessions} == {("v2", SessionState.ACTIVE)}


def test_a_session_that_ends_before_its_turn_leaves_nothing_behind() -> None:
    cell = HandCell()
    sessions = connect_users(cell, 20)
    cell.apply(View(flag=flag(100)), per_second=100)
    for session in sessions:
        session.on_detached()
    cell.advance(1)
    assert cell.moving() == 0
    assert cell.index.on == {"v2": set(), "v3": set()}


def test_new_connections_only_leaves_open_sessions_where_they_are_even_when_v3_restarts() -> None:
    cell = HandCell()
    old, _ = cell.connect("old")
    cell.apply(View(flag=flag(100)), move_existing=False)
    assert (old.path, cell.connect("new")[0].path) == ("v2", "v3")
    cell.v3.die()
    cell.bring_up("v3")
    assert old.path == "v2"
    cell.apply(LOCKED, rollback=True, move_existing=False)
    assert not cell.index.on["v3"]


def test_the_bucket_is_hashed_once_until_the_rule_changes() -> None:
    asked: list[str] = []

    def hashed(user: str) -> int:
        asked.append(user)
        return 50

    cell = HandCell(bucket_of=hashed)
    cell.connect("u1")
    for percentage in (10, 40, 50):
        cell.apply(View(flag=flag(percentage)))
    assert asked == ["u1"]
    changed = flag(50)
    cell.apply(View(flag=type(changed)("other", 50, True, True, key=("other",))))
    assert asked == ["u1", "u1"]


def test_an_http_message_is_admitted_where_it_is_dispatched() -> None:
    cell = HandCell(percentage=100)
    session, client = cell.connect("u", "http")
    admitted = ADMISSIONS["v3", "flag"]
    assert cell.counters.slots[admitted] == 0
    finished: list[bool] = []
    cell.when_finished(session, lambda: finished.append(True))
    session.receive(frame())
    assert cell.counters.slots[admitted] == 1
    cell.v3.work()
    cell.advance(0)
    assert finished == [True]
    assert cell.count("v3", "ok", "http") == 1
    assert client.told[-1] == ("agent_completed", 1)
    assert cell.sockets_of("u") == [], "it counts for no limit of sockets"


def test_idle_and_expired_sockets_are_closed_and_busy_ones_are_not() -> None:
    cell = HandCell(with_settings(idle_s=300))
    (idle, silent), (busy, working) = cell.connect("a"), cell.connect("b")
    _, signed_in = cell.connect("c", expires_at=cell.wall_clock() + 200)
    busy.receive(frame())
    cell.advance(200)
    cell.close_idle()
    assert (silent.closed, working.closed, signed_in.closed) == (None, None, (1008, "sign-in expired"))
    cell.advance(101)
    cell.close_idle()
    assert (silent.closed, working.closed) == ((1001, "idle"), None)
    assert idle.state is SessionState.ENDED


def test_how_long_a_message_waits_to_be_started_is_known() -> None:
    cell = HandCell()
    session, _ = cell.connect()
    session.receive(frame())
    cell.advance(3)
    assert cell.oldest_unstarted_s("v2") == 3
    cell.v2.started()
    assert cell.oldest_unstarted_s("v2") == 0
    cell.v2.done()
    session.receive(frame())
    cell.advance(1)
    session.end()
    assert cell.oldest_unstarted_s("v2") == 0


def test_an_event_of_nobody_is_counted_and_thrown_away() -> None:
    cell = HandCell()
    session, client = cell.connect()
    session.receive(frame())
    run = cell.v2.run
    session.end()
    before = sum(cell.counters.slots)
    cell.v2.event(run)
    assert sum(cell.counters.slots) == before + 1
    assert client.told == [("ack", 1)]


def test_a_path_that_nobody_serves_says_why() -> None:
    cell = HandCell(up=())
    assert cell.path_state("v3").reason == "not started"
    cell.path_unavailable("v3", "no module 'acme'", 0)
    assert cell.path_state("v3") == PathState(False, "no module 'acme'", None, 0, 0, None, None, 0, None)


def test_a_path_shows_what_its_worker_says_of_itself_and_the_cell_s_own_sessions() -> None:
    cell = HandCell(percentage=100)
    for user in ("ann", "ann", "bob"):
        cell.connect(user)
    cell.v3.restarts = 2
    state = cell.path_state("v3")
    assert (state.available, state.reason, state.build, state.restarts) == (True, None, "b-1", 2)
    assert (state.sessions, state.users) == (3, 2)
    assert (state.memory_bytes, state.session_memory_bytes, state.uptime_s) == (1_000_000, 2_000.0, 5.0)
    cell.path_unavailable("v3", "ended by SIGKILL", 2)
    assert cell.path_state("v3").available, "its worker still serves: the words alone take nobody away"
    cell.v3.die()
    state = cell.path_state("v3")
    assert (state.available, state.reason, state.restarts, state.sessions) == (False, "ended by SIGKILL", 2, 0)


class Overheard:
    """A lookout that finds what a test puts there, once."""

    def __init__(self) -> None:
        self.act: Callable[[], object] = lambda: None

    def look(self) -> None:
        act, self.act = self.act, lambda: None
        act()


def test_what_others_said_is_heard_before_anybody_is_admitted_to_v3() -> None:
    overheard = Overheard()
    cell = HandCell(percentage=100, lookout=overheard)
    overheard.act = lambda: cell.apply(LOCKED, rollback=True)
    session, _ = cell.connect()
    assert (session.path, session.reason) == ("v2", "rolled_back")
    assert cell.counters.slots[ADMISSIONS["v3", "flag"]] == 0


def test_what_others_said_is_heard_before_a_session_moves_to_v3() -> None:
    overheard = Overheard()
    cell = HandCell(lookout=overheard)
    session, _ = cell.connect()
    overheard.act = lambda: cell.apply(LOCKED, rollback=True)
    cell.apply(View(flag=flag(100)))
    assert (session.path, session.reason) == ("v2", "rolled_back")


def test_after_a_pause_it_is_heard_before_a_message_that_ends_takes_its_session_to_v3() -> None:
    overheard = Overheard()
    cell = HandCell(lookout=overheard)
    session, _ = cell.connect()
    session.receive(frame())
    cell.v2.started()
    cell.apply(View(flag=flag(100)))
    overheard.act = lambda: cell.apply(LOCKED, rollback=True)
    cell.advance(1.0)
    cell.v2.done()
    assert (session.path, session.reason) == ("v2", "rolled_back")


# -- verified ---------------------------------------------------------------------------------------------------------


async def verified(cell: HandCell, coroutine: Coroutine[None, None, SweepReport]) -> asyncio.Task[SweepReport]:
    """The task, after it had every chance to be done."""
    task = asyncio.create_task(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_an_empty_canary_is_verified_by_its_barrier() -> None:
    cell = HandCell(percentage=100)
    for session in connect_users(cell, 20):
        session.receive(frame())
        cell.v3.work(cell.v3.run)
    sweep = cell.apply(LOCKED, rollback=True)
    report = await cell.verify(sweep)
    assert (report.verified, report.sessions_moved, report.closed, report.interrupted) == (True, 20, 0, 0)


async def test_a_running_message_is_waited_for_and_an_interrupted_one_is_counted() -> None:
    cell = HandCell(with_settings(drain_s=2), percentage=100)
    session, _ = cell.connect()
    session.receive(frame())
    cell.v3.started()
    task = await verified(cell, cell.verify(cell.apply(LOCKED, rollback=True)))
    assert not task.done()
    cell.advance(2 + CANCEL_GRACE_S)
    report = await task
    assert (report.verified, report.interrupted, report.sessions_moved) == (True, 1, 1)


async def test_a_message_cut_off_because_its_worker_died_during_the_rollback_is_counted() -> None:
    cell = HandCell(with_settings(drain_s=2), percentage=100)
    session, _ = cell.connect()
    session.receive(frame())
    cell.v3.started()
    sweep = cell.apply(LOCKED, rollback=True)
    cell.v3.die()
    report = await cell.verify(sweep)
    assert (report.verified, report.interrupted, report.sessions_moved) == (True, 1, 1)


async def test_queued_messages_of_a_client_that_leaves_are_not_the_rollback_s() -> None:
    cell = HandCell(percentage=100)
    session, _ = cell.connect()
    session.receive(frame())
    session.receive(frame())
    sweep = cell.apply(LOCKED, rollback=True)
    session.on_detached()
    cell.v3.work()
    report = await cell.verify(sweep)
    assert (report.interrupted, cell.count("v3", "interrupted")) == (0, 1)


async def test_a_barrier_that_is_not_zero_verifies_nothing() -> None:
    cell = HandCell(percentage=100)
    cell.connect()
    cell.v3.stuck = 1
    task = await verified(cell, cell.verify(cell.apply(LOCKED, rollback=True)))
    assert not task.done()
    cell.v3.stuck = 0
    assert (await task).verified


async def test_a_worker_that_does_not_answer_verifies_nothing_until_it_is_dead() -> None:
    cell = HandCell(percentage=100)
    cell.connect()
    cell.v3.answers_barriers = False
    task = await verified(cell, cell.verify(cell.apply(LOCKED, rollback=True)))
    assert not task.done()
    cell.v3.die()
    assert (await task).verified


async def test_an_old_build_that_still_holds_a_session_verifies_nothing() -> None:
    cell = HandCell(percentage=100)
    cell.connect()
    old = cell.v3
    cell.bring_up("v3")
    old.stuck = 1
    task = await verified(cell, cell.verify(cell.apply(LOCKED, rollback=True)))
    assert not task.done()
    old.die("replaced")
    assert (await task).verified


async def test_a_session_that_slips_in_while_the_barrier_is_awaited_verifies_nothing() -> None:
    cell = HandCell(percentage=100)
    cell.connect("u1")
    worker = cell.v3
    asked = asyncio.Event()
    answer = asyncio.Event()

    async def slow_barrier(timeout_s: float) -> int:
        asked.set()
        await answer.wait()
        return 0

    worker.barrier = slow_barrier  # type: ignore[method-assign]
    task = asyncio.create_task(cell.verify(cell.apply(LOCKED, rollback=True)))
    await asked.wait()
    slipped, _ = cell.connect("u2")
    slipped.move("v3", "flag")
    answer.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    slipped.move("v2", "rolled_back", 0.0)
    assert (await task).verified


async def test_a_sweep_that_is_overtaken_is_not_verified() -> None:
    cell = HandCell(percentage=100)
    session, _ = cell.connect()
    session.receive(frame())
    cell.v3.started()
    sweep = cell.apply(LOCKED, rollback=True)
    task = await verified(cell, cell.verify(sweep))
    cell.apply(View(flag=flag(100)))
    assert not (await task).verified
    assert not (await cell.verify(sweep)).verified


async def test_a_rollback_s_sweeps_add_up_and_those_before_it_do_not() -> None:
    cell = HandCell(percentage=100)
    connect_users(cell, 5)
    cell.apply(View(flag=flag(0)))  # moves all of them
    cell.apply(View(flag=flag(100)))  # and back
    cell.apply(LOCKED, rollback=True)
    sweep = cell.apply(LOCKED, rollback=True)
    report = await cell.verify(sweep)
    assert (report.verified, report.sessions_moved, report.closed, report.interrupted) == (True, 5, 0, 0)


async def test_v3_coming_back_during_a_rollback_gets_nobody_and_the_rollback_is_verified() -> None:
    cell = HandCell(percentage=100)
    connect_users(cell, 5)
    cell.v3.die()
    sweep = cell.apply(LOCKED, rollback=True)
    cell.bring_up("v3")
    assert cell.connect("new")[0].path == "v2"
    report = await cell.verify(sweep)
    assert report.verified
    assert {view.reason for view in cell.sessions()} == {"rolled_back"}


def test_v3_coming_back_takes_up_the_percentage_again() -> None:
    cell = HandCell(percentage=100)
    session, _ = cell.connect()
    cell.told.path_changes.clear()
    cell.v3.die("hung")
    assert (session.path, session.reason) == ("v2", "v3_unavailable")
    cell.bring_up("v3")
    assert (session.path, session.reason) == ("v3", "flag")
    assert cell.told.path_changes == [("v3", "hung"), ("v3", None)]


def test_what_an_old_epoch_says_late_is_thrown_away_and_counted() -> None:
    cell = HandCell(percentage=100)
    (session,) = connect_users(cell, 1)
    cell.path_frames(session.path, [RunEvent(session.key, session.epoch - 1, 1, b"{}")])
    assert cell.counters.slots[counters.STALE] == 1
