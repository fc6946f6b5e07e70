"""The sentence that says where we are, what is next and what is missing, and what a rollback did.

Pure: a `RolloutView` in, text out. It claims nothing that was not observed: a rollback is done when it is verified.
"""

from __future__ import annotations

from urllib.parse import quote

from dashboards.contexts import Fact, Icon, PathShare, Receipt, RollbackSection, StateSection, Tone
from rollout import formats
from rollout.views import PathFigures, RollbackView, RolloutView

IN_FORCE = "In force, not verified yet"
_OF_PHASE: dict[str, tuple[str, Icon, Tone]] = {
    "idle": ("○", "idle", "none"),
    "progressing": ("●", "progressing", "warn"),
    "paused": ("◐", "paused", "warn"),
    "completed": ("✓", "completed", "good"),
    "rolled_back": ("■", "rolled_back", "bad"),
}


def state(view: RolloutView) -> StateSection:
    sign, icon, tone = _OF_PHASE[view.phase]
    if unverified(view):
        icon = "rolling_back"
    return StateSection(
        title=f"{sign} {_state_words(view)}",
        icon=icon,
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


def unverified(view: RolloutView) -> bool:
    """Rolled back, but not (yet) observed to be so in every cell."""
    return view.phase == "rolled_back" and (view.last_rollback is None or view.last_rollback.verified_at is None)


def headline(view: RolloutView) -> str:
    """One sentence; while a rollback is not verified it does not say that everyone is on v2."""
    if view.phase == "rolled_back":
        return "Rolling back to v2" if unverified(view) else "Everyone is on v2"
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
        return _rollback_sentence(view)
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
        f"Next: a person starts plan {view.plan.name}, whose first users on v3 are {stage.percentage} %, "
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
        notes.append(Fact("Next", "nothing advances until a manager unlocks, with a reason", "plain"))
    if view.forced is not None:
        value = "true" if view.forced else "false"
        notes.append(Fact("Forced", f"{view.flag}={value} is set where the service runs; the percentage waits", "warn"))
    for path in view.paths:
        if not path.available:
            notes.append(Fact(f"{path.path} is unavailable", path.unavailable_reason or "no reason is known", "bad"))
    notes += _strays(view)
    if view.moving:
        notes.append(
            Fact(
                "Moving", f"{formats.plural(view.moving, 'session')} at the end of the message that is running", "plain"
            )
        )
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
        return "Nothing was changed yet."
    reason = f": {view.reason}" if view.reason else ""
    return f"Last change by {view.changed_by} at {formats.clock(view.changed_at)}, revision {view.revision}{reason}"


def figures_of(view: RolloutView, path: str) -> PathFigures | None:
    """The figures of one path; None when the service has none."""
    return next((figures for figures in view.paths if figures.path == path), None)


# -- the rollback -----------------------------------------------------------------------------------------------------


def rollback(view: RolloutView, why_not: str) -> RollbackSection:
    """The button's panel. `why_not` is empty when this person may roll back now."""
    last, rolled_back = view.last_rollback, view.phase == "rolled_back"
    canary = figures_of(view, "v3")
    if rolled_back and not unverified(view):
        label, why_not, enabled = "Rolled back", "", False
    else:
        label, enabled = "Roll back again" if rolled_back else "Roll back", not why_not
    effect = ""
    if not rolled_back:
        sessions = "no open session" if canary is None else formats.plural(canary.sessions, "open session")
        effect = f"Everyone on v2 at once, {sessions} of v3 too; no socket is closed."
        if canary is not None and canary.sessions and canary.exports_state is False:
            effect += f" {formats.plural(canary.sessions, 'session')} cannot take the state along: v3 exports none."
    return RollbackSection(label, enabled, why_not, effect, None if last is None else receipt(view, last))


def receipt(view: RolloutView, done: RollbackView) -> Receipt:
    """By observation only; what was not observed says so."""
    verified = done.verified_at is not None
    moved = f"{formats.count(done.sessions_moved)} of {formats.count(done.sessions_to_move)}"
    if view.phase != "rolled_back":
        head: tuple[Tone, str] = ("plain", f"Last rollback, {formats.moment(done.at, view.now)} UTC")
    elif done.verified_at is not None:
        head = ("good", f"Verified {formats.clock(done.verified_at)}")
    elif done.silent_cells:
        head = ("bad", f"In force in {_cells(done)}, not verified")
    else:
        head = ("warn", f"{IN_FORCE}: moving {moved}")
    by = f"{done.by}: {done.reason}" if done.reason else done.by
    facts = [
        Fact("sessions moved", moved, "plain" if done.sessions_moved == done.sessions_to_move else "warn"),
        _clock("no new v3 session after", done.new_stopped_ms, done),
        _clock("last session moved after", done.existing_moved_ms, done),
        *_without_state(done),
        Fact("sockets closed", formats.count(done.closed), "bad" if done.closed else "plain"),
        Fact("messages interrupted", formats.count(done.interrupted), "warn" if done.interrupted else "plain"),
        Fact("in force in", _cells(done), "bad" if done.silent_cells else "plain"),
    ]
    if view.phase != "rolled_back":
        facts.append(Fact("verified", formats.clock(done.verified_at or 0) if verified else "never", "plain"))
    took = "" if done.existing_moved_ms is None else f" in {formats.milliseconds(done.existing_moved_ms)}"
    return Receipt(
        *head,
        facts,
        by,
        _silence(view, done),
        f"/rollbacks/{quote(done.id, safe='')}",
        f"{moved} sessions moved{took}, {formats.plural(done.closed, 'socket')} closed",
        past=view.phase != "rolled_back",
    )


def _without_state(done: RollbackView) -> list[Fact]:
    return [Fact("moved without state", formats.count(done.without_state), "warn")] if done.without_state else []


def _clock(label: str, value: float | None, done: RollbackView) -> Fact:
    if value is None:
        return Fact(label, "not yet known" if done.verified_at is None else "not measured", "none")
    return Fact(label, formats.milliseconds(value))


def _cells(done: RollbackView) -> str:
    total = len({*done.cells, *done.silent_cells})
    return f"{total - len(set(done.silent_cells))} of {formats.plural(total, 'cell')}"


def _silence(view: RolloutView, done: RollbackView) -> str:
    if done.verified_at is not None:
        return ""
    since = {cell.name: cell.silent_s for cell in view.cells}
    return "; ".join(
        f"{name} silent for {formats.duration(since[name])}" if name in since else f"{name} silent"
        for name in done.silent_cells
    )


def _rollback_sentence(view: RolloutView) -> str:
    done = view.last_rollback
    if done is None:
        return "The lock is set. No report of the rollback is known here, so nothing is verified."
    moved = f"{formats.count(done.sessions_moved)} of {formats.plural(done.sessions_to_move, 'session')} moved"
    if done.verified_at is None:
        silence = _silence(view, done)
        return f"{IN_FORCE}. {moved}; in force in {_cells(done)}{'; ' if silence else ''}{silence}."
    parts = [moved if done.existing_moved_ms is None else f"{moved} in {formats.milliseconds(done.existing_moved_ms)}"]
    if done.new_stopped_ms is not None:
        parts.append(f"no new session on v3 after {formats.milliseconds(done.new_stopped_ms)}")
    parts.append(f"{formats.plural(done.closed, 'socket')} closed")
    parts.append(f"{formats.plural(done.interrupted, 'message')} interrupted")
    return f"Verified {formats.clock(done.verified_at)}. {', '.join(parts)}."
