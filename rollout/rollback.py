"""A rollback: v2 for everyone and a lock, from any phase and on any revision. It wins over everything else."""

from __future__ import annotations

from dataclasses import replace

from rollout.events import Actor, Audit, Notify, Publish, Rollback, Transition, WriteFlag
from rollout.now import Now
from rollout.permissions import require
from rollout.state import LastRollback, Lock, Rollout
from rollout.transitions import stamp


def order(state: Rollout, command: Rollback, now: Now) -> Transition:
    """Somebody orders it. Raises NotAllowed."""
    require(command.actor, "rollback")
    return roll_back(state, command.actor, command.reason, now)


def merge(state: Rollout, lock: Lock, now: Now) -> Transition:
    """A lock made without the store is in force if its generation is current; else it was lifted meanwhile.

    It keeps the date at which it was made; the time in which it can be undone counts from `now`.
    """
    actor = Actor(lock.by, "oncall" if lock.by_person else "system")
    if lock.generation < state.generation:
        what = f"rollback superseded (generation {lock.generation}, now {state.generation})"
        return Transition(state, (Audit(actor, what, lock.reason),))
    if state.phase == "rolled_back":
        return Transition(state)
    return roll_back(state, actor, lock.reason, replace(now, wall=lock.since))


def roll_back(state: Rollout, actor: Actor, reason: str, now: Now) -> Transition:
    """v2 for everyone and a lock, from any phase; done again it changes nothing and only asserts the lock again."""
    now = now.not_before(state.elapsed_s)  # the rollout's clock never goes back
    always = (Publish(rollback=True), WriteFlag(0))
    if state.phase == "rolled_back":
        return Transition(state, (*always, Audit(actor, "rollback (already in force)", reason)))
    by_person = actor.role != "system"
    rolled_back = replace(
        state,
        phase="rolled_back",
        percentage=0,
        stage=None,
        baking_since_s=None,
        baked_s=0.0,
        start_at=None,
        lock=Lock(state.id, state.generation, now.wall, actor.name, by_person, reason),
        last_rollback=LastRollback(
            id=f"{state.id}-{state.generation}",
            at=now.wall,
            elapsed_s=now.elapsed_s,
            by=actor.name,
            by_person=by_person,
            reason=reason,
            place=state.place(now),
        ),
    )
    text = f"rolled back from {state.percentage} % by {actor.name}: {reason or 'no reason given'}"
    effects = (*always, Audit(actor, "rollback", reason), Notify("rolled_back", text))
    return Transition(stamp(rolled_back, actor, "rollback", reason, now), effects)
