"""What a command does to a rollout, and what commands and time both do: start, next stage, completion.

Each gives the record with a new revision and the effects to carry out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from rollout import builds
from rollout.errors import FlagNotZero, NotInPhase
from rollout.events import (
    Actor,
    ApplyPlan,
    Audit,
    Command,
    Effect,
    Load,
    NewEpoch,
    Notify,
    Pause,
    Promote,
    Publish,
    Resume,
    SetPercentage,
    SettingSeen,
    Start,
    Transition,
    Undo,
    Unlock,
    WriteFlag,
)
from rollout.now import Now
from rollout.permissions import LAST_STAGE, require
from rollout.state import Rollout


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


def command(
    state: Rollout,
    event: Start | SetPercentage | Promote | Pause | Resume | Undo | Unlock | ApplyPlan,
    now: Now,
) -> Transition:
    match event:
        case Start():
            return start(state, event.actor, event.percentage, event.reason, now)
        case SetPercentage():
            return _set(state, event, now)
        case Promote():
            return _promote(state, event, now)
        case Pause():
            paused = replace(state, phase="paused", baked_s=state.baked(now), baking_since_s=None)
            return _quiet(paused, event, "pause", now)
        case Resume():
            return _quiet(_resumed(state, now), event, "resume", now)
        case Undo():
            return _undo(state, event, now)
        case Unlock():
            return _unlock(state, event, now)
        case ApplyPlan():
            return _apply_plan(state, event, now)
        case _:
            assert_never(event)


def load(state: Rollout, event: Load, now: Now) -> Transition:
    """The build is part of the record from here on; who is on which path does not change."""
    require(event.actor, "load")
    new = event.loaded
    loaded = builds.load(builds.of_path(state.builds, new.path), new, event.settings)
    what = f"load {new.path} build {new.build} in place of {event.previous_build or 'none'}"
    changed = replace(state, builds=builds.with_path(state.builds, loaded))
    audit = Audit(event.actor, what, event.reason)
    return Transition(stamp(changed, event.actor, what, event.reason, now), (audit,))


def see_setting(state: Rollout, event: SettingSeen, now: Now) -> Transition:
    """A setting that was changed since a load wins on its host; without a load there is nothing to win over."""
    before = builds.of_path(state.builds, event.path)
    if before is None:
        return Transition(state)
    after = builds.see(before, event.host, event.setting)
    if after == before:
        return Transition(state)
    known = after.setting_of(event.host)
    place = f" on {event.host}" if event.host else ""
    what = f"setting of {event.path}{place}: {event.setting}"
    if known is not None and known.changed is not None:
        reason = f"it was changed after build {before.build} was loaded, and is served there in its place"
    else:
        reason = f"it is the one that build {before.build} was loaded for, which is served there again"
    actor = Actor(f"host {event.host}" if event.host else "settings", "system")
    changed = replace(state, builds=builds.with_path(state.builds, after))
    return Transition(stamp(changed, actor, what, reason, now), (Audit(actor, what, reason),))


def _quiet(state: Rollout, command: Command, what: str, now: Now) -> Transition:
    audit = Audit(command.actor, what, command.reason)
    return Transition(stamp(state, command.actor, what, command.reason, now), (audit,))


def _set(state: Rollout, event: SetPercentage, now: Now) -> Transition:
    if state.phase == "idle":
        return start(state, event.actor, event.percentage, event.reason, now)
    off_clock = replace(
        state, phase="paused", percentage=event.percentage, stage=None, baking_since_s=None, baked_s=0.0
    )
    return moved(off_clock, event.actor, f"set {event.percentage} %", event.reason, now)


def _promote(state: Rollout, event: Promote, now: Now) -> Transition:
    last = len(state.plan.stages) - 1
    done = state.stage == last and state.percentage >= state.plan.stages[-1].percentage
    if event.full and not (done and state.percentage == 100):
        return moved(at_stage(state, last, 100, now), event.actor, "promote to 100 %", event.reason, now)
    if state.in_last_stage:
        if not state.bake_over(now):
            raise NotInPhase("promote", state.phase, LAST_STAGE)
        return complete(state, event.actor, event.reason, now)
    return next_stage(state, event.actor, event.reason, now)


def _resumed(state: Rollout, now: Now) -> Rollout:
    """Back on the plan's clock; after `set` that is the whole bake of the stage the percentage belongs to."""
    stage = state.plan.stage_at(state.percentage) if state.stage is None else state.stage
    return replace(state, phase="progressing", stage=stage, baking_since_s=now.elapsed_s)


def _undo(state: Rollout, event: Undo, now: Now) -> Transition:
    last = state.last_rollback
    assert last is not None  # permissions.admit refuses an undo without a rollback to undo
    place = last.place
    back = replace(
        state,
        phase=place.phase,
        percentage=place.percentage,
        stage=place.stage,
        baking_since_s=now.elapsed_s if place.phase == "progressing" else None,
        baked_s=place.baked_s,
        generation=state.generation + 1,
        lock=None,
    )
    return moved(back, event.actor, f"undo, back to {place.percentage} %", event.reason, now)


def _unlock(state: Rollout, event: Unlock, now: Now) -> Transition:
    if event.flag_percentage != 0:
        raise FlagNotZero(event.flag_percentage)
    idle = replace(state, phase="idle", percentage=0, generation=state.generation + 1, lock=None)
    return moved(idle, event.actor, "unlock", event.reason, now)


def _apply_plan(state: Rollout, event: ApplyPlan, now: Now) -> Transition:
    """The new plan from here on: on its clock the stage of the current percentage begins anew."""
    plan = event.plan
    stage = None if state.stage is None else plan.stage_at(state.percentage)
    due = plan.start_at if state.phase == "idle" and plan.start_at is not None and plan.start_at > now.wall else None
    last = state.last_rollback
    if last is not None and last.place.stage is not None:
        # An undo goes back to the percentage, in the plan that holds by then.
        place = replace(last.place, stage=plan.stage_at(last.place.percentage), baked_s=0.0)
        last = replace(last, place=place)
    planned = replace(
        state,
        plan=plan,
        stage=stage,
        baked_s=0.0,
        baking_since_s=None if state.baking_since_s is None else now.elapsed_s,
        start_at=due,
        last_rollback=last,
    )
    return _quiet(planned, event, f"plan {plan.name}", now)
