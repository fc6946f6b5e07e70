"""Who may do what, and when: the verb table's "allowed in" column and the roles, with the words of each refusal.

Must not know what a verb does. The same answers refuse a command and grey out its button.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rollout.errors import (
    BadPercentage,
    NotAllowed,
    NotInPhase,
    ReasonMissing,
    RevisionMissing,
    StaleRevision,
)
from rollout.events import (
    VERBS,
    Actor,
    ApplyPlan,
    Pause,
    Promote,
    Resume,
    SetPercentage,
    Start,
    Undo,
    Unlock,
    Verb,
)
from rollout.names import PHASES, Phase, Role
from rollout.now import Now
from rollout.state import Rollout

Checked = Start | SetPercentage | Promote | Pause | Resume | Undo | Unlock | ApplyPlan

ALLOWED_IN: Final[Mapping[Verb, tuple[Phase, ...]]] = {
    "start": ("idle",),
    "set": ("idle", "progressing", "paused"),
    "promote": ("progressing", "paused"),
    "pause": ("progressing",),
    "resume": ("paused",),
    "rollback": PHASES,
    "undo": ("rolled_back",),
    "unlock": ("rolled_back",),
    "plan": PHASES,
}
LAST_STAGE: Final = "the last stage is still baking, and it is completed by a person or by itself once that is over"

_RANK: Final[Mapping[Role, int]] = {"viewer": 0, "oncall": 1, "manager": 2, "system": 3}
_VERB_OF: Final[Mapping[type[Checked], Verb]] = {
    Start: "start",
    SetPercentage: "set",
    Promote: "promote",
    Pause: "pause",
    Resume: "resume",
    Undo: "undo",
    Unlock: "unlock",
    ApplyPlan: "plan",
}


def why_not(state: Rollout, verb: Verb, now: Now) -> str:
    """Why a verb is not possible now, in words for a person; empty when it is. Roles and values are not looked at."""
    if state.phase not in ALLOWED_IN[verb]:
        if state.phase == "rolled_back":
            return "everyone is on v2 and locked; unlock first"
        phases = " or ".join(phase.replace("_", " ") for phase in ALLOWED_IN[verb])
        return f"it is possible while the rollout is {phases}"
    if verb == "undo":
        left_s = state.undo_left_s(now)
        if left_s is None:
            return "the evidence made this rollback, not a person; unlock instead"
        if left_s < 0:
            return "10 minutes have passed since the rollback; unlock instead"
    if verb == "promote" and state.in_last_stage and state.percentage == 100 and not state.bake_over(now):
        return LAST_STAGE
    return ""


def allowed(state: Rollout, now: Now) -> dict[Verb, str]:
    """For every verb the empty text, or why it is not possible now."""
    return {verb: why_not(state, verb, now) for verb in VERBS}


def check_load(state: Rollout, *, users_on_v3: int, live: bool) -> None:
    """Whether v3's build may be replaced: in idle, with nobody on v3, or when the operator said `--live`.

    Raises NotInPhase.
    """
    if not (live or state.phase == "idle" or users_on_v3 == 0):
        users = "1 user is" if users_on_v3 == 1 else f"{users_on_v3} users are"
        raise NotInPhase("load", state.phase, f"{users} on v3; set 0 % first, or say --live to move them over")


def require_role(actor: Actor, least: Role, what: str) -> None:
    """Raises NotAllowed when the actor's role is below `least`."""
    if _RANK[actor.role] < _RANK[least]:
        raise NotAllowed(f"{actor.name} ({actor.role}) may not {what}: it needs the role {least}")


def admit(state: Rollout, command: Checked, now: Now) -> None:
    """Let a command pass, or say why not: role, then revision, then phase, then values.

    Raises NotAllowed, RevisionMissing, StaleRevision, NotInPhase, BadPercentage or ReasonMissing.
    """
    _check_role(state, command)
    if command.revision is None:
        raise RevisionMissing(state.revision)
    if command.revision != state.revision:
        raise StaleRevision(command.revision, state.revision, state.changed_by, state.changed_what, state.changed_at)
    verb = _VERB_OF[type(command)]
    if words := why_not(state, verb, now):
        raise NotInPhase(verb, state.phase, words)
    if isinstance(command, SetPercentage) or (isinstance(command, Start) and command.percentage is not None):
        _check_percentage(command.percentage)
    if isinstance(command, Unlock) and not command.reason.strip():
        raise ReasonMissing("unlock")


def _check_role(state: Rollout, command: Checked) -> None:
    match command:
        case Pause():
            require_role(command.actor, "oncall", "pause")
        case Undo():
            last = state.last_rollback
            own = last is not None and last.by_person and last.by == command.actor.name
            require_role(command.actor, "oncall" if own else "manager", "undo a rollback somebody else made")
        case SetPercentage():
            running = state.phase in ("progressing", "paused")
            lowers = running and type(command.percentage) is int and command.percentage < state.percentage
            require_role(command.actor, "oncall" if lowers else "manager", "raise the percentage")
        case _:
            require_role(command.actor, "manager", _VERB_OF[type(command)])


def _check_percentage(value: object) -> None:
    # A caller may pass on what came out of JSON, where true and 10.0 are easily taken for numbers of users.
    if type(value) is not int or not 0 <= value <= 100:
        raise BadPercentage(value)
