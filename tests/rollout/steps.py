"""Actors, moments and records for tests of the rollout: each record is reached by commands."""

from __future__ import annotations

from rollout.events import (
    Actor,
    ApplyPlan,
    Event,
    Pause,
    Promote,
    Resume,
    Rollback,
    SetPercentage,
    Start,
    Undo,
    Unlock,
)
from rollout.guardrails import BUILT_IN
from rollout.machine import advance
from rollout.names import Phase, Verb, Verdict
from rollout.now import Now
from rollout.plan import DEFAULT_PLAN, QUICK_PLAN, Plan, Stage
from rollout.state import Rollout

ADA = Actor("ada", "manager")
OLE = Actor("ole", "oncall")
VIC = Actor("vic", "viewer")
WALL = 1_000_000.0
NOW = Now(WALL, 500.0)
PASSING: dict[str, Verdict] = dict.fromkeys(BUILT_IN, "pass")

AUTOMATIC = Plan(
    "automatic",
    (
        Stage(0, 60, (), "automatic"),
        Stage(10, 60, BUILT_IN, "automatic"),
        Stage(50, 60, ("errors",), "automatic"),
        Stage(100, 60, BUILT_IN, "automatic"),
    ),
)


def later(seconds: float) -> Now:
    """`NOW` and so many seconds, as clocks go that nobody touches."""
    return Now(WALL + seconds, NOW.elapsed_s + seconds)


def follow(state: Rollout, *events: Event, now: Now = NOW) -> Rollout:
    """The record after these events, all at one moment."""
    for event in events:
        state = advance(state, event, now).state
    return state


def in_phase(phase: Phase, plan: Plan = DEFAULT_PLAN) -> Rollout:
    """A record in that phase, reached by commands."""
    state = Rollout(plan=plan)
    if phase == "idle":
        return state
    state = follow(state, Start(actor=ADA, revision=0, percentage=10))
    if phase == "paused":
        state = follow(state, Pause(actor=ADA, revision=1))
    if phase == "completed":
        state = follow(state, Promote(actor=ADA, revision=1, full=True))
        state = follow(state, Promote(actor=ADA, revision=2), now=later(state.plan.stages[-1].bake_s))
    if phase == "rolled_back":
        state = follow(state, Rollback(actor=ADA))
    assert state.phase == phase
    return state


def command(verb: Verb, state: Rollout) -> Event:
    """What Ada says for that verb, on the revision that she sees."""
    based = state.revision
    events: dict[Verb, Event] = {
        "start": Start(actor=ADA, revision=based),
        "set": SetPercentage(actor=ADA, revision=based, percentage=30),
        "promote": Promote(actor=ADA, revision=based),
        "pause": Pause(actor=ADA, revision=based),
        "resume": Resume(actor=ADA, revision=based),
        "rollback": Rollback(actor=ADA),
        "undo": Undo(actor=ADA, revision=based),
        "unlock": Unlock(actor=ADA, revision=based, reason="fixed", flag_percentage=0),
        "plan": ApplyPlan(actor=ADA, revision=based, plan=QUICK_PLAN),
    }
    return events[verb]
