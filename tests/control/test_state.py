"""The one owner of the record in force and of the view: what each of its calls changes, and that nobody else can."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from app.control.clock import RolloutClock
from app.control.pending import PendingRollback
from app.control.record import audit_in, entry_of
from app.control.state import State
from app.flags.embedded import EmbeddedFlags
from app.gateway.sweep import Sweep
from app.settings import Settings
from rollout.assign import View
from rollout.events import Actor, Rollback, SetPercentage, Start
from rollout.machine import advance
from rollout.now import Now
from rollout.plan import Plan
from rollout.state import Rollout
from tests.control.memory_cell import GROUP, MemoryCell

APP = Path(__file__).parent.parent.parent / "app"
ANN, BOB = Actor("ann", "manager"), Actor("bob", "oncall")
NOW = Now(1_000_000.0, 60.0)
STARTED = advance(Rollout(), Start(actor=ANN, percentage=100, revision=0), NOW).state
ROLLED_BACK = advance(STARTED, Rollback(actor=BOB, reason="errors"), NOW).state
LOWERED = advance(STARTED, SetPercentage(actor=ANN, percentage=30, revision=1), NOW).state
USERS = 20
PLAN = STARTED.plan
NEW_ONLY = replace(PLAN, new_connections_only=True)


class Given(NamedTuple):
    """How a cell was told to follow its view."""

    rollback: bool
    per_second: int
    move_existing: bool


class RecordingCell(MemoryCell):
    """Keeps how each view was given."""

    def __init__(self) -> None:
        super().__init__("a")
        self.given: list[Given] = []

    def apply(self, view: View, *, rollback: bool = False, per_second: int = 0, move_existing: bool = True) -> Sweep:
        self.given.append(Given(rollback, per_second, move_existing))
        return super().apply(view, rollback=rollback, per_second=per_second, move_existing=move_existing)


class Owned:
    """A state of which the tests see what it does to its cell."""

    def __init__(self) -> None:
        self.wall, self.ticks = 1_000_000.0, 0.0
        self.cell = MemoryCell("a", USERS)
        self.flags = EmbeddedFlags(GROUP)
        self.clock = RolloutClock(lambda: self.ticks)
        self.state = State(self.cell, self.flags, Settings(), lambda: self.wall, self.clock)

    async def serve(self, record: Rollout) -> None:
        """This record is in force, flag and sessions included."""
        await self.flags.apply(record)
        self.state.adopt(record)
        self.state.publish()


@pytest_asyncio.fixture
async def owned() -> AsyncIterator[Owned]:
    owned = Owned()
    yield owned
    await owned.flags.close()


def rollback(base: Rollout = STARTED, *, ordered: bool = True) -> PendingRollback:
    command = Rollback(actor=BOB, reason="errors")
    transition = advance(base, command, NOW)
    lock = transition.state.lock
    assert lock is not None
    entry = entry_of(audit_in(transition.effects), "page", base, transition.state, figures=[], now=NOW.wall)
    return PendingRollback(base.revision, transition, command, lock, NOW, entry if ordered else None)


# -- nobody else ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, value in vars(State).items() if isinstance(value, property)])
async def test_what_may_be_read_of_it_cannot_be_assigned(owned: Owned, name: str) -> None:
    before = getattr(owned.state, name)
    with pytest.raises(AttributeError, match="no setter"):
        setattr(owned.state, name, before)


async def test_nothing_of_it_is_open_but_what_cannot_be_assigned(owned: Owned) -> None:
    assert [name for name in vars(owned.state) if not name.startswith("_")] == []


def test_nobody_else_gives_a_cell_its_view() -> None:
    """A view is given with `apply`; flags have a call of that name too, and are given a record."""
    calls = {
        (path.relative_to(APP).as_posix(), ast.unparse(node.func))
        for path in APP.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "apply"
    }
    assert calls == {("control/state.py", "self._cell.apply"), ("control/flag_writer.py", "self._flags.apply")}


# -- the record -------------------------------------------------------------------------------------------------------


async def test_at_first_nothing_was_ever_started_and_nothing_is_pending(owned: Owned) -> None:
    assert (owned.state.record, owned.state.pending) == (Rollout(), None)
    assert owned.cell.applied == []


async def test_an_adopted_record_is_the_one_in_force_and_its_view_comes_with_publish(owned: Owned) -> None:
    await owned.serve(STARTED)
    assert owned.state.adopt(LOWERED) is STARTED
    assert owned.state.record is LOWERED
    assert (len(owned.cell.applied), owned.cell.on("v3")) == (1, USERS)
    await owned.flags.apply(LOWERED)
    owned.state.publish()
    assert len(owned.cell.applied) == 2
    assert 0 < owned.cell.on("v3") < USERS


async def test_a_rollback_is_in_force_in_one_step(owned: Owned) -> None:
    await owned.serve(STARTED)
    pending = rollback()
    sweep = owned.state.lock(pending)
    assert owned.state.record is pending.transition.state
    assert owned.state.pending is pending
    assert (sweep.rollback, sweep.to_move, sweep.moved) == (True, USERS, USERS)
    assert (owned.cell.view.locked, owned.cell.on("v3")) == (True, 0)


async def test_a_second_rollback_before_the_first_is_saved_repeats_it(owned: Owned) -> None:
    first = rollback()
    owned.state.lock(first)
    owned.state.lock(rollback(first.transition.state))
    assert owned.state.pending is first


async def test_what_the_store_has_ends_what_was_pending(owned: Owned) -> None:
    pending = rollback()
    owned.state.lock(pending)
    assert owned.state.adopt(pending.transition.state) is pending.transition.state
    assert owned.state.pending is None


async def test_a_rollback_is_late_when_the_store_was_away(owned: Owned) -> None:
    owned.state.delay()
    assert owned.state.pending is None
    pending = rollback()
    owned.state.lock(pending)
    owned.state.delay()
    assert owned.state.pending == replace(pending, late=True)


async def test_one_can_wait_for_a_rollback_to_be_saved(owned: Owned) -> None:
    async with asyncio.timeout(5):
        await owned.state.saved(60)
        pending = rollback()
        owned.state.lock(pending)
        waiting = asyncio.create_task(owned.state.saved(60))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        owned.state.adopt(pending.transition.state)
        await waiting
        owned.state.lock(rollback())
        await owned.state.saved(0.01)
    assert owned.state.pending is not None, "whoever waits long enough goes on all the same"


async def test_now_is_both_clocks(owned: Owned) -> None:
    owned.clock.read(40.0)
    owned.ticks += 2
    owned.wall -= 3_600
    assert owned.state.now() == Now(1_000_000.0 - 3_600, 42.0)


# -- the view ---------------------------------------------------------------------------------------------------------


async def test_the_view_is_made_of_record_flag_pins_and_cell(owned: Owned) -> None:
    await owned.serve(STARTED)
    view = owned.state.view()
    assert view.flag == owned.flags.rule()
    assert (view.locked, view.v3_available, view.v3_withheld, view.pins, view.forced) == (False, True, False, {}, None)
    owned.cell.available["v3"] = False
    owned.state.lock(rollback())
    assert (owned.state.view().locked, owned.state.view().v3_available) == (True, False)


@pytest.mark.parametrize("forced", [True, False])
async def test_what_the_environment_forces_is_in_the_view(owned: Owned, forced: bool) -> None:
    state = State(owned.cell, owned.flags, Settings(forced=forced), lambda: 0.0, owned.clock)
    assert state.view().forced is forced


async def test_new_pins_move_open_sessions_whatever_the_plan_says(owned: Owned) -> None:
    await owned.serve(replace(STARTED, percentage=0, plan=NEW_ONLY))
    assert owned.state.pin({"u1": "v3"})
    assert owned.state.view().pins == {"u1": "v3"}
    assert owned.cell.on("v3") == 1
    sweeps = len(owned.cell.applied)
    assert not owned.state.pin({"u1": "v3"})
    assert len(owned.cell.applied) == sweeps
    assert owned.state.pin({})
    assert owned.cell.on("v3") == 0


async def test_a_cell_that_is_cut_off_serves_v2_until_it_is_not(owned: Owned) -> None:
    await owned.serve(STARTED)
    assert owned.state.cut_off(True)
    assert (owned.cell.on("v3"), owned.state.view().v3_withheld, owned.cell.view.locked) == (0, True, False)
    sweeps = len(owned.cell.applied)
    assert not owned.state.cut_off(True)
    assert len(owned.cell.applied) == sweeps
    assert owned.state.cut_off(False)
    assert owned.cell.on("v3") == USERS


@pytest.mark.parametrize(
    ("plan", "record", "everyone", "rollback", "given"),
    [
        (PLAN, STARTED, False, False, Given(False, 7, True)),
        (replace(PLAN, ramp_per_second=3), STARTED, False, False, Given(False, 3, True)),
        (NEW_ONLY, STARTED, False, False, Given(False, 7, False)),
        (NEW_ONLY, STARTED, True, False, Given(False, 7, True)),
        (NEW_ONLY, STARTED, False, True, Given(True, 0, True)),
        (NEW_ONLY, ROLLED_BACK, False, False, Given(True, 0, True)),
    ],
)
async def test_how_open_sessions_follow_is_the_plans_and_a_rollback_takes_them_all_at_once(
    owned: Owned, plan: Plan, record: Rollout, everyone: bool, rollback: bool, given: Given
) -> None:
    cell = RecordingCell()
    state = State(cell, owned.flags, Settings(ramp_per_second=7), lambda: 0.0, owned.clock)
    state.adopt(replace(record, plan=plan))
    sweep = state.publish(rollback=rollback, everyone=everyone)
    assert cell.given == [given]
    assert sweep.rollback is given.rollback
