"""Which buttons a person may press now, what each would do, and why the others cannot be pressed.

The service decides again on every command; this says beforehand what it will answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from dashboards.base.person import Person, why_not_role
from rollout import formats
from rollout.names import Verb
from rollout.permissions import lowest_role, role_for, suffices
from rollout.views import Preview, RolloutView

PRESETS = (0, 10, 100)


class Control(Struct, frozen=True):
    """One button: what it would do, said before the click, or why it cannot be clicked now."""

    key: str
    """Names it among all buttons: `pause`, `set-10`, `promote-full`."""
    verb: Verb
    label: str
    enabled: bool
    note: str
    percentage: int | None = None
    current: bool = False
    full: bool = False
    """`promote` past every stage that is left."""


class NotNow(Struct, frozen=True):
    """Buttons that cannot be pressed for one and the same reason."""

    reason: str
    controls: list[Control]


class ControlsSection(Struct, frozen=True):
    revision: int
    presets: list[Control]
    custom: Control | None
    """None: it is among those that cannot be pressed."""
    verbs: list[Control]
    not_now: list[NotNow]


def why_not(view: RolloutView, person: Person, verb: Verb, percentage: int | None = None) -> str:
    """Empty when this person may do it now, else the reason, one clause."""
    if reason := view.allowed.get(verb, "not offered now"):
        return reason
    own = verb == "undo" and view.last_rollback is not None and view.last_rollback.by == person.name
    lowers = verb == "set" and percentage is not None and percentage < view.percentage
    refused = why_not_role(person, verb, mild=own or lowers)
    if refused and verb == "undo" and suffices(person.role, lowest_role(verb)):
        return f"only a {role_for(verb)} may undo someone else's rollback"
    return refused


def effect(preview: Preview) -> str:
    """`moves 1,480 users and 276 open sessions to v3, none back`."""
    return "; ".join((_effect(preview), *_reservations(preview)))


def _reservations(preview: Preview) -> list[str]:
    said = []
    if preview.sessions_without_state:
        said.append(f"{formats.plural(preview.sessions_without_state, 'session')} cannot take the state along")
    if preview.missing_cells:
        said.append(f"not counted: cell {', '.join(preview.missing_cells)}")
    return said


def _effect(preview: Preview) -> str:
    there = _moves(preview.users_to_v3, preview.sessions_to_v3)
    back = _moves(preview.users_to_v2, preview.sessions_to_v2)
    if there and back:
        return f"moves {there} to v3, {back} back to v2"
    if there:
        return f"moves {there} to v3, none back"
    return f"moves {back} back to v2" if back else "moves nobody"


def _moves(users: int, sessions: int) -> str:
    if not users and not sessions:
        return ""
    return f"{formats.plural(users, 'user')} and {formats.plural(sessions, 'open session')}"


def controls(view: RolloutView, person: Person, previews: Mapping[int, Preview]) -> ControlsSection:
    """`previews` by percentage; one that is missing says nothing about its effect."""
    presets = [_preset(view, person, percentage, previews.get(percentage)) for percentage in PRESETS]
    custom = _custom(view, person)
    verbs = [
        _control(view, person, "start", "Start", _start_note(view)),
        _control(view, person, "promote", _promote_label(view), _promote_note(view)),
        *_full(view, person, previews.get(100)),
        _control(view, person, "pause", "Pause", f"holds at {view.percentage} %; nobody moves"),
        _control(view, person, "resume", "Resume", "back on the plan's clock; nobody moves"),
        _control(view, person, "unlock", "Unlock", "to idle at 0 %; needs a reason"),
        _control(view, person, "undo", "Undo the rollback", _undo_note(view)),
    ]
    return ControlsSection(
        revision=view.revision,
        presets=[control for control in presets if control.enabled or control.current],
        custom=custom if custom.enabled else None,
        verbs=[control for control in verbs if control.enabled],
        not_now=_not_now([*presets, custom, *verbs]),
    )


def _not_now(every: Sequence[Control]) -> list[NotNow]:
    """What cannot be pressed, by reason: each reason is said once."""
    reasons: dict[str, list[Control]] = {}
    for control in every:
        if not control.enabled and not control.current:
            reasons.setdefault(control.note, []).append(control)
    return [NotNow(reason, same) for reason, same in reasons.items()]


def _control(view: RolloutView, person: Person, verb: Verb, label: str, note: str) -> Control:
    reason = why_not(view, person, verb)
    return Control(verb, verb, label, not reason, reason or note)


def _preset(view: RolloutView, person: Person, percentage: int, preview: Preview | None) -> Control:
    current = percentage == view.percentage and view.phase != "rolled_back"
    reason = "where we are now" if current else why_not(view, person, "set", percentage)
    note = reason or ("" if preview is None else effect(preview))
    return Control(f"set-{percentage}", "set", f"{percentage} %", not reason, note, percentage, current)


def _custom(view: RolloutView, person: Person) -> Control:
    # An on-call engineer may lower: the field stays open to them while there is something to lower.
    reason = why_not(view, person, "set", max(0, view.percentage - 1) if view.percentage else None)
    return Control("custom", "set", "Set %", not reason, reason or "any whole percentage, 0 to 100")


def _full(view: RolloutView, person: Person, preview: Preview | None) -> list[Control]:
    """Where the next stage is not the last one, 100 % may be reached at once."""
    if view.allowed.get("promote") or view.next_percentage in (None, 100):
        return []
    reason = why_not(view, person, "promote")
    skipped = sum(view.percentage < stage.percentage for stage in view.plan.stages[:-1])
    jump = f"skips {formats.plural(skipped, 'stage')}" if skipped else "holds nobody back on v2"
    note = jump if preview is None else f"{jump}; {effect(preview)}"
    return [Control("promote-full", "promote", "Promote to 100 % at once", not reason, reason or note, full=True)]


def _start_note(view: RolloutView) -> str:
    if not view.plan.stages:
        return "the plan has no stages"
    first = view.plan.stages[0]
    return f"plan {view.plan.name}: {first.percentage} % for {formats.duration(first.bake_s)}"


def _promote_label(view: RolloutView) -> str:
    return "Promote" if view.next_percentage is None else f"Promote to {view.next_percentage} %"


def _promote_note(view: RolloutView) -> str:
    skipped = []
    if view.next_at is not None and view.next_at > view.now:
        skipped.append(f"{formats.countdown(view.next_at - view.now)} of baking")
    if still_open := sum(verdict.verdict != "pass" for verdict in view.verdicts):
        skipped.append(f"{formats.plural(still_open, 'open guardrail')}")
    return f"now skips {' and '.join(skipped)}" if skipped else "baked, and every guardrail passes"


def _undo_note(view: RolloutView) -> str:
    left = None if view.undo_until is None else view.undo_until - view.now
    ending = "" if left is None else f"; {formats.countdown(left)} left to undo"
    return f"back to where it was{ending}"
