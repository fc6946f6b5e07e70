"""The rollback button: what a click would do, and what the last rollback did as far as it was observed.

A rollback counts as done when it is verified, not before.
"""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct

from dashboards.base.page import Fact, Tone, unverified
from dashboards.sections.figures import figures_of
from rollout import formats
from rollout.views import PathFigures, RollbackView, RolloutView

IN_FORCE = "In force, not verified yet"


class ObservedRollback(Struct, frozen=True):
    """What a rollback did, as far as it was observed."""

    tone: Tone
    headline: str
    facts: list[Fact]
    by: str
    silent: str
    address: str
    """The page with all that is known of this rollback."""
    summary: str
    """The facts that matter most, in one clause."""
    past: bool
    """It is no longer in force."""


class RollbackSection(Struct, frozen=True):
    label: str
    enabled: bool
    why_not: str
    effect: str
    receipt: ObservedRollback | None


def rollback(view: RolloutView, why_not: str) -> RollbackSection:
    """The button's panel. `why_not` is empty when this person may roll back now."""
    last, rolled_back = view.last_rollback, view.phase == "rolled_back"
    if rolled_back and not unverified(view):
        label, why_not, enabled = "Rolled back", "", False
    else:
        label, enabled = "Roll back again" if rolled_back else "Roll back", not why_not
    effect = "" if rolled_back else _effect(figures_of(view, "v3"))
    return RollbackSection(label, enabled, why_not, effect, None if last is None else observed(view, last))


def _effect(canary: PathFigures | None) -> str:
    """What a click would do."""
    if canary is None or not canary.sessions:
        return "Puts everyone on v2 at once; no open session is on v3."
    sessions = formats.plural(canary.sessions, "open session")
    effect = f"Moves everyone to v2 at once, including {sessions} on v3; no socket is closed."
    if canary.exports_state is False:
        effect += f" {formats.plural(canary.sessions, 'session')} cannot take the state along: v3 exports none."
    return effect


def receipt_address(id: str) -> str:
    return f"/rollbacks/{quote(id, safe='')}"


def observed(view: RolloutView, done: RollbackView) -> ObservedRollback:
    """Only what was observed; where something was not, it says so."""
    verified = done.verified_at is not None
    moved = f"{formats.count(done.sessions_moved)} of {formats.count(done.sessions_to_move)}"
    if view.phase != "rolled_back":
        head: tuple[Tone, str] = ("plain", f"Last rollback, {formats.moment(done.at, view.now)} UTC")
    elif not done.durable:
        head = ("bad", f"{_observed_words(done)}, {done.durability}")
    elif done.verified_at is not None:
        head = ("good", _observed_words(done))
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
    if not done.durable:
        facts.append(Fact("durable", f"no: {done.durability}", "bad"))
    elif view.phase == "rolled_back" and view.lock is not None and view.lock.durability:
        facts.append(Fact("lock kept", view.lock.durability))
    if view.phase != "rolled_back":
        facts.append(Fact("verified", formats.clock(done.verified_at or 0) if verified else "never", "plain"))
    took = "" if done.existing_moved_ms is None else f" in {formats.milliseconds(done.existing_moved_ms)}"
    return ObservedRollback(
        *head,
        facts,
        by,
        _silence(view, done),
        receipt_address(done.id),
        f"{moved} sessions moved{took}, {formats.plural(done.closed, 'socket')} closed",
        past=view.phase != "rolled_back",
    )


def _observed_words(done: RollbackView) -> str:
    return IN_FORCE if done.verified_at is None else f"Verified {formats.clock(done.verified_at)}"


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


def rollback_sentence(view: RolloutView) -> str:
    """What the last rollback did, as the sentence under the headline."""
    done = view.last_rollback
    if done is None:
        return "The lock is set. There is no report of the rollback here, so nothing is verified."
    moved = f"{formats.count(done.sessions_moved)} of {formats.plural(done.sessions_to_move, 'session')} moved"
    if done.verified_at is None:
        silence = _silence(view, done)
        kept = "" if done.durable else f"; {done.durability}"
        return f"{IN_FORCE}. {moved}; in force in {_cells(done)}{'; ' if silence else ''}{silence}{kept}."
    parts = [moved if done.existing_moved_ms is None else f"{moved} in {formats.milliseconds(done.existing_moved_ms)}"]
    if done.new_stopped_ms is not None:
        parts.append(f"no new session on v3 after {formats.milliseconds(done.new_stopped_ms)}")
    parts.append(f"{formats.plural(done.closed, 'socket')} closed")
    parts.append(f"{formats.plural(done.interrupted, 'message')} interrupted")
    kept = "" if done.durable else f" {done.durability.capitalize()}: a restart of this host would end it."
    return f"Verified {formats.clock(done.verified_at)}. {', '.join(parts)}.{kept}"
