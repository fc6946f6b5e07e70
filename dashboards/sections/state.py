"""The sentence that says where the rollout is, what comes next and what is still missing.

It claims nothing that was not observed: while a rollback is not verified, nobody reads that everyone is on v2.
"""

from __future__ import annotations

from msgspec import Struct

from dashboards.base.page import Fact, Icon, Tone, icon_of, undurable, unverified
from dashboards.sections.figures import figures_of
from dashboards.sections.rollback import rollback_sentence
from rollout import formats
from rollout.names import Phase
from rollout.views import RolloutView

_OF_PHASE: dict[Phase, tuple[str, Tone]] = {
    "idle": ("○", "none"),
    "progressing": ("●", "warn"),
    "paused": ("◐", "warn"),
    "completed": ("✓", "good"),
    "rolled_back": ("■", "bad"),
}


class PathShare(Struct, frozen=True):
    """v2 beside v3 of one quantity; `v3_percent` None: there is none of either."""

    label: str
    v2: str
    v3: str
    v3_percent: float | None
    v3_share: str


class StateSection(Struct, frozen=True):
    """Where the rollout is, what is next, and what is still missing."""

    title: str
    icon: Icon
    badge: str
    tone: Tone
    headline: str
    next: str
    missing: list[str]
    notes: list[Fact]
    shares: list[PathShare]
    changed: str
    welcome: bool
    """Nobody is connected and nothing was counted yet: the page says what a newcomer may do."""


def state(view: RolloutView) -> StateSection:
    sign, tone = _OF_PHASE[view.phase]
    return StateSection(
        title=f"{sign} {_state_words(view)}",
        icon=icon_of(view),
        badge=_badge(view),
        tone=tone,
        headline=headline(view),
        next=_next(view),
        missing=_missing(view),
        notes=_notes(view),
        shares=_shares(view),
        changed=_changed(view),
        welcome=not any(path.sessions or path.messages for path in view.paths),
    )


def headline(view: RolloutView) -> str:
    """One sentence; while a rollback is not verified it does not say that everyone is on v2, and never that it lasts
    while it would not.
    """
    if view.phase == "rolled_back":
        kept = undurable(view)
        return ("Rolling back to v2" if unverified(view) else "Everyone is on v2") + (f", {kept}" if kept else "")
    if view.forced is not None:
        return f"Everyone is on {'v3' if view.forced else 'v2'}, forced by the environment"
    if view.percentage in (0, 100):
        return f"Everyone is on {'v3' if view.percentage else 'v2'}"
    return f"{view.percentage} % of users on v3"


def _state_words(view: RolloutView) -> str:
    if view.phase == "rolled_back":
        return "rolling back" if unverified(view) else "rolled back"
    return f"{view.percentage} % {'baking' if view.phase == 'progressing' else view.phase}"


def _badge(view: RolloutView) -> str:
    if view.phase == "rolled_back":
        return "rolling back · locked on v2" if unverified(view) else "rolled back · locked on v2"
    if view.phase == "progressing":
        stage = "" if view.stage is None else f" · stage {view.stage + 1} of {len(view.plan.stages)}"
        return f"baking{stage}"
    return view.phase


def _next(view: RolloutView) -> str:
    if view.phase == "rolled_back":
        return rollback_sentence(view)
    if view.phase == "completed":
        return "The rollout is done. Rolling back still works."
    if view.phase == "paused":
        return f"Held at {view.percentage} % until someone resumes or promotes."
    if view.phase == "idle":
        return _first_stage(view)
    return _next_stage(view)


def _first_stage(view: RolloutView) -> str:
    stage = next((stage for stage in view.plan.stages if stage.percentage > view.percentage), None)
    if stage is None:
        return "Nothing is planned."
    return (
        f"Next: a person starts plan {view.plan.name}; it first puts {stage.percentage} % of users on v3, "
        f"for {formats.duration(stage.bake_s)}."
    )


def _next_stage(view: RolloutView) -> str:
    left = None if view.next_at is None else view.next_at - view.now
    automatic = view.stage is not None and view.plan.stages[view.stage].advance == "automatic"
    target = "completed" if view.next_percentage is None else f"{view.next_percentage} %"
    if left is None:
        return f"Next: {target}, when a person promotes."
    if automatic:
        in_time = f" in {formats.countdown(left)}" if left > 0 else ""
        return f"Next: {target}{in_time}, once every guardrail passes."
    if left > 0:
        return f"Next: {target}, when a person promotes; {formats.countdown(left)} of baking left."
    return f"Baking is over: {target} waits for a person to promote."


def _missing(view: RolloutView) -> list[str]:
    if view.phase not in ("progressing", "paused"):
        return []
    return [f"{verdict.guardrail}: {verdict.words}" for verdict in view.verdicts if verdict.verdict != "pass"]


def _notes(view: RolloutView) -> list[Fact]:
    notes = []
    if view.lock is not None:
        reason = f": {view.lock.reason}" if view.lock.reason else ""
        notes.append(Fact("Locked", f"by {view.lock.by} at {formats.clock(view.lock.since)}{reason}", "bad"))
        if kept := undurable(view):
            notes.append(
                Fact("Not durable", f"{kept}; a crash or a restart of this host would end the rollback", "bad")
            )
        notes.append(Fact("Next", "nothing advances until a manager unlocks, with a reason", "plain"))
    if view.forced is not None:
        setting = f"{view.flag}={'true' if view.forced else 'false'} is set where the service runs"
        notes.append(Fact("Forced", f"{setting}; until it is removed, the percentage has no effect", "warn"))
    for path in view.paths:
        if not path.available:
            notes.append(Fact(f"{path.path} is unavailable", path.unavailable_reason or "no reason is known", "bad"))
    notes += [Fact("Builds", note, "warn") for note in view.build_notes]
    notes += _strays(view)
    if view.moving:
        moving = formats.plural(view.moving, "session")
        notes.append(Fact("Moving", f"{moving}, as soon as the running message ends", "plain"))
    return notes


def _strays(view: RolloutView) -> list[Fact]:
    """The headline says everyone; pins and sessions that still move are the exceptions, and are not hidden."""
    if view.percentage not in (0, 100) or view.forced is not None:
        return []
    other = figures_of(view, "v2" if view.percentage else "v3")
    if other is None or not other.sessions:
        return []
    many = formats.plural(other.sessions, "open session")
    return [Fact("Except", f"{many} on {other.path}: pinned, or not moved yet", "warn")]


def _shares(view: RolloutView) -> list[PathShare]:
    stable, canary = figures_of(view, "v2"), figures_of(view, "v3")
    return [
        _share("users", None if stable is None else stable.users, None if canary is None else canary.users),
        _share(
            "open sessions", None if stable is None else stable.sessions, None if canary is None else canary.sessions
        ),
    ]


def _share(label: str, stable: int | None, canary: int | None) -> PathShare:
    if stable is None or canary is None:
        return PathShare(label, "no data", "no data", None, "")
    total = stable + canary
    part = canary / total * 100 if total else None
    share = "" if part is None else f"{formats.share(canary, total)} on v3"
    return PathShare(label, formats.count(stable), formats.count(canary), part, share)


def _changed(view: RolloutView) -> str:
    if not view.changed_at:
        return "Nothing has been changed yet."
    reason = f": {view.reason}" if view.reason else ""
    return f"Last change by {view.changed_by} at {formats.clock(view.changed_at)}, revision {view.revision}{reason}"
