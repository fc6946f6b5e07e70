"""Who may do what, and when: one table of actions, roles and phases, with the words of each refusal.

Commands, the API's guards and the pages' buttons take from it what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    Actor,
    ApplyPlan,
    Pause,
    Promote,
    Resume,
    SetPercentage,
    Start,
    Undo,
    Unlock,
)
from rollout.names import PHASES, ROLES, VERBS, Action, Phase, Role, TokenRole, Verb
from rollout.now import Now
from rollout.state import Rollout

Checked = Start | SetPercentage | Promote | Pause | Resume | Undo | Unlock | ApplyPlan


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    role: TokenRole
    """Whoever has it, or a higher one, may do it."""
    words: str
    """What is done, after "may not"."""
    phases: tuple[Phase, ...] = PHASES
    mild: tuple[TokenRole, str] | None = None
    """Role and words of the case in which less is at stake: lowering the percentage, undoing one's own rollback."""


RULES: Final[Mapping[Action, Rule]] = {
    "start": Rule("manager", "start a rollout", ("idle",)),
    "set": Rule(
        "manager",
        "raise the percentage",
        ("idle", "progressing", "paused"),
        mild=("oncall", "lower the percentage"),
    ),
    "promote": Rule("manager", "promote", ("progressing", "paused")),
    "pause": Rule("oncall", "pause", ("progressing",)),
    "resume": Rule("manager", "resume", ("paused",)),
    "rollback": Rule("oncall", "roll back"),
    "undo": Rule("manager", "undo a rollback somebody else made", ("rolled_back",), mild=("oncall", "undo a rollback")),
    "unlock": Rule("manager", "unlock", ("rolled_back",)),
    "plan": Rule("manager", "change the plan"),
    "look": Rule("viewer", "look"),
    "note": Rule("oncall", "leave a note"),
    "pin": Rule("manager", "pin users"),
    "load": Rule("manager", "load a build"),  # where users are on v3, `check_load` asks for more
    "forget": Rule("manager", "give up a cell"),
}
LAST_STAGE: Final = "the last stage is still baking, and it is completed by a person or by itself once that is over"

_RANK: Final[Mapping[Role, int]] = {role: rank for rank, role in enumerate(ROLES)}
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


def suffices(role: Role, needed: Role) -> bool:
    """Whether a role is the one that is needed, or a higher one."""
    return _RANK[role] >= _RANK[needed]


def role_for(action: Action, *, mild: bool = False) -> TokenRole:
    """The lowest role that may do it; `mild`: in the case in which less is at stake, if it has one."""
    return _role_and_words(action, mild=mild)[0]


def lowest_role(action: Action) -> TokenRole:
    """The lowest role that may ever do it: whoever has less need not be asked what exactly they want to do."""
    return role_for(action, mild=True)


def require(actor: Actor, action: Action, *, mild: bool = False) -> None:
    """Raises NotAllowed when the actor's role does not suffice."""
    needed, words = _role_and_words(action, mild=mild)
    if not suffices(actor.role, needed):
        raise NotAllowed(f"{actor.name} ({actor.role}) may not {words}: it needs the role {needed}")


def _role_and_words(action: Action, *, mild: bool) -> tuple[TokenRole, str]:
    rule = RULES[action]
    return rule.mild if mild and rule.mild else (rule.role, rule.words)


def why_not(state: Rollout, verb: Verb, now: Now) -> str:
    """Why a verb is not possible now, in words for a person; empty when it is. Roles and values are not looked at."""
    phases = RULES[verb].phases
    if state.phase not in phases:
        if state.phase == "rolled_back":
            return "everyone is on v2 and locked; unlock first"
        return f"it is possible while the rollout is {' or '.join(phase.replace('_', ' ') for phase in phases)}"
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


def admit(state: Rollout, command: Checked, now: Now) -> None:
    """Let a command pass, or say why not: role, then revision, then phase, then values.

    Raises NotAllowed, RevisionMissing, StaleRevision, NotInPhase, BadPercentage or ReasonMissing.
    """
    verb = _VERB_OF[type(command)]
    require(command.actor, verb, mild=_is_mild(state, command))
    if command.revision is None:
        raise RevisionMissing(state.revision)
    if command.revision != state.revision:
        raise StaleRevision(command.revision, state.revision, state.changed_by, state.changed_what, state.changed_at)
    if words := why_not(state, verb, now):
        raise NotInPhase(verb, state.phase, words)
    if isinstance(command, SetPercentage) or (isinstance(command, Start) and command.percentage is not None):
        _check_percentage(command.percentage)
    if isinstance(command, Unlock) and not command.reason.strip():
        raise ReasonMissing("unlock")


def _is_mild(state: Rollout, command: Checked) -> bool:
    if isinstance(command, Undo):
        last = state.last_rollback
        return last is not None and last.by_person and last.by == command.actor.name
    if isinstance(command, SetPercentage):
        running = state.phase in ("progressing", "paused")
        return running and type(command.percentage) is int and command.percentage < state.percentage
    return False


def _check_percentage(value: object) -> None:
    # A caller may pass on what came out of JSON, where true and 10.0 are easily taken for numbers of users.
    if type(value) is not int or not 0 <= value <= 100:
        raise BadPercentage(value)
