"""The changes that commands and time both make to a rollout: start, next stage, completion, rollback.

Each gives the record with a new revision and the effects to carry out.
"""

from __future__ import annotations

from dataclasses import replace

from rollout.events import Actor, Audit, Effect, NewEpoch, Notify, Publish, Transition, WriteFlag
from rollout.now import Now
from rollout.state import LastRollback, Lock, Rollout


def stamp(state: Rollout, actor: Actor, what: str, reason: str, now: Now) -> Rollout:
    """The record marked as changed: a new revision, who, what, why and when; whatever held the stage is past."""
    return replace(
        state,
        revision=state.revision + 1,
        holding="",
        reason=reason,
        changed_by=actor.name,
        changed_what=what,
        changed_at=now.wall,
        elapsed_s=now.elapsed_s,
    )


def moved(state: Rollout, actor: Actor, what: str, reason: str, now: Now, *extra: Effect) -> Transition:
    """A transition that changes who is on v3: the flag, the sessions and the evidence follow."""
    effects = (Publish(), WriteFlag(state.percentage), NewEpoch(), Audit(actor, what, reason), *extra)
    return Transition(stamp(state, actor, what, reason, now), effects)


def start(state: Rollout, actor: Actor, percentage: int | None, reason: str, now: Now) -> Transition:
    """A new canary: at the plan's first stage, or at a percentage with the clock of the stage it belongs to."""
    stage = 0 if percentage is None else state.plan.stage_at(percentage)
    share = state.plan.percentage_of(0) if percentage is None else percentage
    begun = replace(state, id=state.id + 1, start_at=None)
    text = f"started at {share} %"
    return moved(at_stage(begun, stage, share, now), actor, f"start {share} %", reason, now, Notify("started", text))


def at_stage(state: Rollout, stage: int, percentage: int, now: Now) -> Rollout:
    """The record at the beginning of a stage."""
    return replace(
        state,
        phase="progressing",
        stage=stage,
        percentage=percentage,
        baking_since_s=now.elapsed_s,
        baked_s=0.0,
    )


def next_stage(state: Rollout, actor: Actor, reason: str, now: Now) -> Transition:
    """The first stage above the percentage, or the last one; its bake begins now, however late it is.

    One call is one stage: after a downtime the overdue stages fold into one step, and the next gate is not skipped.
    """
    above = state.plan.next_after(state.percentage)
    stage = len(state.plan.stages) - 1 if above is None else above
    percentage = max(state.percentage, state.plan.percentage_of(stage))
    text = f"promoted from {state.percentage} % to {percentage} %"
    promoted = at_stage(state, stage, percentage, now)
    return moved(promoted, actor, f"promote to {percentage} %", reason, now, Notify("advanced", text))


def complete(state: Rollout, actor: Actor, reason: str, now: Now) -> Transition:
    """The end of the last stage: what was held back follows, nothing is left to bake."""
    last = state.plan.stages[-1]
    percentage = max(state.percentage, last.percentage)
    done = replace(
        state,
        phase="completed",
        percentage=percentage,
        stage=len(state.plan.stages) - 1,
        baked_s=state.baked(now),
        baking_since_s=None,
    )
    return moved(done, actor, "complete", reason, now, Notify("completed", f"completed at {percentage} %"))


def roll_back(state: Rollout, actor: Actor, reason: str, now: Now) -> Transition:
    """v2 for everyone and a lock, from any phase; done again it changes nothing and only asserts the lock again."""
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
