"""Baking and undo go by the rollout's own clock, not by the wall's; freezes and a plan's start go by the wall's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.errors import NotInPhase, Refused
from rollout.events import (
    Actor,
    ApplyPlan,
    Effect,
    Event,
    Pause,
    Promote,
    Resume,
    Rollback,
    SetPercentage,
    Start,
    Tick,
    Undo,
    Unlock,
)
from rollout.guardrails import BUILT_IN
from rollout.machine import advance
from rollout.names import Verdict
from rollout.now import Now
from rollout.permissions import allowed
from rollout.plan import Plan, Stage
from rollout.schedule import FreezeOnce
from rollout.state import Rollout
from tests.rollout.steps import ADA, AUTOMATIC, NOW, OLE, PASSING, WALL, follow, in_phase, later

HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0
SHORT = Plan("short", (Stage(10, 8, (), "automatic"), Stage(50, 8, (), "automatic"), Stage(100, 8, (), "automatic")))


def moment(wall_s: float, elapsed_s: float) -> Now:
    """`NOW`, so much later on either clock."""
    return Now(WALL + wall_s, NOW.elapsed_s + elapsed_s)


def started(plan: Plan = SHORT) -> Rollout:
    return follow(Rollout(plan=plan), Start(actor=ADA, revision=0))


# --- baking -----------------------------------------------------------------------------------------------------------


def test_an_hour_back_does_not_hold_a_stage() -> None:
    state = follow(started(), Tick(), now=moment(7.9 - HOUR_S, 7.9))
    assert state.percentage == 10
    assert follow(state, Tick(), now=moment(8 - HOUR_S, 8)).percentage == 50


@pytest.mark.parametrize("jump_s", [HOUR_S, DAY_S, 400 * DAY_S])
def test_a_day_ahead_bakes_nothing(jump_s: float) -> None:
    state = follow(started(), Tick(), now=moment(jump_s, 7.9))
    assert state.percentage == 10
    assert follow(state, Tick(), now=moment(jump_s, 8)).percentage == 50


def test_while_no_leader_ran_nothing_was_baked() -> None:
    state = follow(started(), Tick(), now=moment(DAY_S, 0))
    assert (state.percentage, state.baked(moment(DAY_S, 0))) == (10, 0)


def test_the_last_stage_is_not_completed_by_a_jump_either() -> None:
    state = follow(started(), Promote(actor=ADA, revision=1, full=True))
    assert follow(state, Tick(), now=moment(DAY_S, 1)).phase == "progressing"
    with pytest.raises(NotInPhase, match="still baking"):
        advance(state, Promote(actor=ADA, revision=2), moment(DAY_S, 7.9))
    assert follow(state, Promote(actor=ADA, revision=2), now=moment(-HOUR_S, 8)).phase == "completed"


def test_a_pause_stops_and_a_resume_starts_the_clock_whatever_the_wall_says() -> None:
    state = follow(started(), Pause(actor=ADA, revision=1), now=moment(-HOUR_S, 5))
    state = follow(state, Resume(actor=ADA, revision=2), now=moment(DAY_S, 100))
    assert state.baked(moment(0, 102)) == 7
    assert state.bake_left_s(moment(0, 102)) == 1


def test_the_clock_of_the_record_never_goes_back() -> None:
    """A cell that follows may be behind the leader by a moment when it gives a command."""
    state = follow(started(), Pause(actor=ADA, revision=1), now=moment(5, 5))
    state = follow(state, Resume(actor=ADA, revision=2), now=moment(6, 4))
    assert state.elapsed_s == moment(5, 5).elapsed_s
    assert state.baked(moment(6, 4)) == 5
    assert state.baked(moment(9, 8)) == 8


@pytest.mark.parametrize("jump_s", [0, -HOUR_S, DAY_S])
def test_views_say_when_the_bake_ends_on_the_wall(jump_s: float) -> None:
    assert started().bake_ends_at(moment(jump_s + 3, 3)) == WALL + jump_s + 8


# --- undo -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [-HOUR_S, 0, 601, DAY_S])
def test_a_rollback_can_be_undone_for_ten_minutes_of_the_rollouts_clock(jump_s: float) -> None:
    state = follow(in_phase("progressing"), Rollback(actor=OLE))
    event = Undo(actor=OLE, revision=state.revision)
    assert follow(state, event, now=moment(jump_s, 600)).percentage == 10
    assert state.undo_until(moment(jump_s, 599)) == WALL + jump_s + 1
    with pytest.raises(NotInPhase, match="10 minutes have passed"):
        advance(state, event, moment(jump_s, 600.5))


# --- freezes and the plan's start are about the calendar --------------------------------------------------------------


def test_a_freeze_holds_by_the_wall_clock() -> None:
    frozen = started(replace(SHORT, freezes=(FreezeOnce(WALL + DAY_S, WALL + 2 * DAY_S),)))
    assert follow(frozen, Tick(), now=moment(DAY_S, 8)).holding == "frozen"
    assert follow(frozen, Tick(), now=moment(2 * DAY_S, 8)).percentage == 50


def test_a_plan_starts_by_the_wall_clock() -> None:
    planned = follow(Rollout(), ApplyPlan(actor=ADA, revision=0, plan=replace(SHORT, start_at=WALL + 60)))
    assert follow(planned, Tick(), now=moment(59, DAY_S)).phase == "idle"
    assert follow(planned, Tick(), now=moment(60, 0)).phase == "progressing"


# --- any sequence of jumps --------------------------------------------------------------------------------------------

MANAGER_OR_ONCALL = st.sampled_from((ADA, OLE))
VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(("pass", "pass", "pass", "inconclusive", "fail"))
PLANS = st.sampled_from((AUTOMATIC, SHORT))


@st.composite
def events(draw: st.DrawFn) -> tuple[str, Actor, int, Verdict]:
    """What somebody does, without the revision: both runs see their own, and they must be the same."""
    kinds = ("start", "set", "promote", "full", "pause", "resume", "rollback", "undo", "unlock", "plan", *["tick"] * 6)
    return draw(st.sampled_from(kinds)), draw(MANAGER_OR_ONCALL), draw(st.integers(0, 100)), draw(VERDICTS)


def event_of(kind: str, actor: Actor, percentage: int, verdict: Verdict, revision: int) -> Event:
    made: dict[str, Event] = {
        "start": Start(actor=actor, revision=revision, percentage=percentage),
        "set": SetPercentage(actor=actor, revision=revision, percentage=percentage),
        "promote": Promote(actor=actor, revision=revision),
        "full": Promote(actor=actor, revision=revision, full=True),
        "pause": Pause(actor=actor, revision=revision),
        "resume": Resume(actor=actor, revision=revision),
        "rollback": Rollback(actor=actor),
        "undo": Undo(actor=actor, revision=revision),
        "unlock": Unlock(actor=actor, revision=revision, reason="fixed", flag_percentage=0),
        "plan": ApplyPlan(actor=actor, revision=revision, plan=AUTOMATIC),
        "tick": Tick(verdicts={**PASSING, BUILT_IN[0]: verdict}),
    }
    return made[kind]


def without_dates(state: Rollout) -> Rollout:
    """The record without what only says to people when it was."""
    lock = None if state.lock is None else replace(state.lock, since=0.0)
    last = None if state.last_rollback is None else replace(state.last_rollback, at=0.0)
    return replace(state, changed_at=0.0, lock=lock, last_rollback=last)


def decide(state: Rollout, event: Event, now: Now) -> tuple[Rollout, type[Refused] | Sequence[Effect]]:
    """The record afterwards, and the effects or the refusal."""
    try:
        change = advance(state, event, now)
    except Refused as refused:
        return state, type(refused)
    return change.state, change.effects


Step = tuple[tuple[str, Actor, int, Verdict], float, float]
"""What happens, seconds that passed before it, and how far the wall clock jumped meanwhile."""


@given(
    PLANS,
    st.lists(
        st.tuples(
            events(),
            st.sampled_from((0.0, 1.0, 7.5, 8.0, 30.0, 60.0, 300.0, 601.0)),
            st.floats(-2 * DAY_S, 2 * DAY_S),
        ),
        max_size=25,
    ),
)
def test_no_jump_of_the_wall_clock_changes_a_decision(plan: Plan, steps: Sequence[Step]) -> None:
    steady, jumping = Rollout(plan=plan), Rollout(plan=plan)
    now = jumped = later(0)
    for (kind, actor, percentage, verdict), passed_s, jump_s in steps:
        now = Now(now.wall + passed_s, now.elapsed_s + passed_s)
        jumped = Now(max(1.0, jumped.wall + passed_s + jump_s), now.elapsed_s)
        event = event_of(kind, actor, percentage, verdict, steady.revision)
        steady, said = decide(steady, event, now)
        jumping, said_of_the_jumping = decide(jumping, event, jumped)
        assert said == said_of_the_jumping
        assert without_dates(steady) == without_dates(jumping)
        assert allowed(steady, now) == allowed(jumping, jumped)
        assert steady.baked(now) == jumping.baked(jumped)
        assert steady.undo_left_s(now) == jumping.undo_left_s(jumped)
