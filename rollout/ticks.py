"""What time does to a rollout by itself: harm rolls back, a schedule starts, a stage advances or holds.

No gate is skipped: one tick is one stage at most.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rollout.events import EVIDENCE, SCHEDULE, Actor, Notify, Tick, Transition
from rollout.guardrails import failed, worst_for
from rollout.now import Now
from rollout.rollback import roll_back
from rollout.schedule import frozen
from rollout.state import Hold, Rollout
from rollout.transitions import complete, next_stage, start

_WORDS: Final[dict[Hold, str]] = {
    "person": "a person decides on the next step",
    "frozen": "a freeze window holds",
    "flag": "the flag's server cannot be reached, so nothing advances by itself",
    "builds": "cells run different builds of v3",
    "inconclusive": "it is too early to tell",
    "insufficient_data": "there is not enough data to tell",
}
_WATCHED: Final = ("progressing", "paused", "completed")


def tick(state: Rollout, event: Tick, now: Now) -> Transition:
    """The record after a moment in which nobody gave a command."""
    if state.phase in _WATCHED and (harmful := failed(state.guardrails, event.verdicts)):
        return roll_back(state, EVIDENCE, f"harm shown by {', '.join(harmful)}", now)
    if state.phase == "idle" and state.start_at is not None and now.wall >= state.start_at:
        if frozen(state.plan.freezes, now.wall) or not (event.flag_known and event.same_build):
            return Transition(state)
        return start(state, SCHEDULE, None, f"scheduled by plan {state.plan.name}", now)
    if state.phase == "progressing":
        return _progress(state, event, now)
    return Transition(state)


def _progress(state: Rollout, event: Tick, now: Now) -> Transition:
    if not state.bake_over(now):
        return Transition(replace(state, holding="") if state.holding else state)
    hold = _hold(state, event, now)
    if hold:
        return _held(state, hold)
    actor = Actor(f"plan {state.plan.name}", "system")
    if state.in_last_stage:
        return complete(state, actor, "the last stage's bake is over", now)
    return next_stage(state, actor, "the bake is over and every guardrail passes", now)


def _hold(state: Rollout, event: Tick, now: Now) -> Hold:
    """What keeps a stage from going on now that its bake is over; empty: nothing."""
    if frozen(state.plan.freezes, now.wall):
        return "frozen"
    if not event.flag_known:
        return "flag"
    if not event.same_build:
        return "builds"
    stage = state.current_stage
    assert stage is not None  # its bake is over, so there is one
    nobody_moves = state.in_last_stage and state.percentage >= stage.percentage
    if stage.advance == "person":
        return "" if nobody_moves else "person"
    if (nobody_moves and state.percentage == 100) or not stage.guardrails:
        # Without a stable arm there is nothing to compare: time alone completes.
        return ""
    verdict = worst_for(stage.guardrails, event.verdicts)
    return "" if verdict == "pass" else verdict


def _held(state: Rollout, hold: Hold) -> Transition:
    """Holding is no change of the rollout: the revision stays, or an operator's command would be refused for it."""
    if state.holding == hold:
        return Transition(state)
    text = f"holds at {state.percentage} %: {_WORDS[hold]}"
    return Transition(replace(state, holding=hold), (Notify(hold, text),))
