"""What each event does to a rollout: one pure function from record, event and time to record and effects.

What a command does stands in transitions.py, what time does in ticks.py, a rollback in rollback.py, who may do what in
permissions.py. A rollback wins over everything: no phase and no revision refuse it.
"""

from __future__ import annotations

from rollout.events import (
    Event,
    Load,
    LockFound,
    Rollback,
    SettingSeen,
    Tick,
    Transition,
)
from rollout.now import Now
from rollout.permissions import admit
from rollout.rollback import merge, order
from rollout.state import Rollout
from rollout.ticks import tick
from rollout.transitions import command, load, see_setting


def advance(state: Rollout, event: Event, now: Now) -> Transition:
    """The record after `event` at `now`, and the effects to carry out once it is saved.

    The rollout's clock never goes back: `now` counts as no earlier than the record on it.
    Raises Refused (NotAllowed, RevisionMissing, StaleRevision, NotInPhase, BadPercentage, ReasonMissing); then nothing
    changed.
    """
    now = now.not_before(state.elapsed_s)
    match event:
        case Rollback():
            return order(state, event, now)
        case LockFound():
            return merge(state, event.lock, now)
        case Tick():
            return tick(state, event, now)
        case Load():
            return load(state, event, now)
        case SettingSeen():
            return see_setting(state, event, now)
        case _:
            admit(state, event, now)
            return command(state, event, now)
