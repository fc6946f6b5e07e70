"""A rollout, its audit and a person → the contexts of the pages. Pure; the clock is in the view."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from dashboards import words
from dashboards.contexts import (
    Chrome,
    Entry,
    Fact,
    HistoryPage,
    HistorySection,
    Message,
    OverviewPage,
    Tone,
    Top,
    TryPage,
)
from dashboards.controls import controls, why_not
from dashboards.figures import figures
from dashboards.ports import Person, Verb
from dashboards.state import rollback, state
from dashboards.views import AuditEntry, AuditPage, Preview, RolloutView

SILENT_S = 3.0
"""A cell that has not been heard for so long is called silent in the top line."""
_UNLEASH: dict[str, Tone] = {"embedded": "good", "in step": "good", "pending": "warn"}
_DONE: dict[Verb, str] = {
    "start": "Started",
    "set": "Set",
    "promote": "Promoted",
    "pause": "Paused",
    "resume": "Resumed",
    "rollback": "The rollback is in force; what it did is shown here.",
    "undo": "The rollback is undone",
    "unlock": "Unlocked",
}


def overview_page(
    view: RolloutView,
    audit: AuditPage,
    person: Person,
    *,
    previews: Mapping[int, Preview],
    csrf_token: str,
    message: Message | None = None,
) -> OverviewPage:
    now = state(view)
    return OverviewPage(
        chrome=Chrome(f"{now.title} – Crossfade", now.icon, "overview", person.name, person.role, "/stream/overview"),  # noqa: RUF001
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        state=now,
        rollback=rollback(view, why_not(view, person, "rollback")),
        controls=controls(view, person, previews),
        figures=figures(view),
        history=history(audit, view.now),
    )


def try_page(view: RolloutView, person: Person, csrf_token: str) -> TryPage:
    now = state(view)
    return TryPage(
        chrome=Chrome(f"{now.title} – Crossfade", now.icon, "try", person.name, person.role, "/stream/try"),  # noqa: RUF001
        csrf_token=csrf_token,
        message=None,
        top=top(view),
        state=now,
        rollback=rollback(view, why_not(view, person, "rollback")),
    )


def history_page(view: RolloutView, audit: AuditPage, person: Person, csrf_token: str) -> HistoryPage:
    return HistoryPage(
        chrome=Chrome("History – Crossfade", state(view).icon, "history", person.name, person.role),  # noqa: RUF001
        csrf_token=csrf_token,
        top=top(view),
        history=history(audit, view.now),
    )


def top(view: RolloutView) -> Top:
    unleash = f"Unleash {view.unleash}, {words.duration(view.flag_age_s)} old"
    return Top(
        as_of=words.clock(view.now),
        environment=view.environment,
        flag=view.flag,
        unleash=Fact("Unleash", unleash, _UNLEASH.get(view.unleash, "bad")),
        cells=_cells(view),
    )


def _cells(view: RolloutView) -> Fact:
    silent = [cell for cell in view.cells if cell.silent_s >= SILENT_S]
    if not silent:
        return Fact("Cells", words.plural(len(view.cells), "cell"), "good")
    names = ", ".join(f"{cell.name} silent for {words.duration(cell.silent_s)}" for cell in silent)
    return Fact("Cells", f"{len(silent)} of {words.plural(len(view.cells), 'cell')}: {names}", "bad")


def history(audit: AuditPage, now: float) -> HistorySection:
    older = "" if audit.next is None else f"/history?{urlencode({'before': audit.next})}"
    return HistorySection([_entry(entry, now) for entry in audit.items], older)


def _entry(entry: AuditEntry, now: float) -> Entry:
    return Entry(
        at=words.moment(entry.at, now),
        at_iso=words.iso(entry.at),
        who=f"{entry.who} ({entry.role})" if entry.role else entry.who,
        source=entry.source,
        what=entry.what,
        reason=entry.reason,
        revision=entry.revision,
    )


def outcome_message(verb: Verb, percentage: int | None, refusal: str) -> Message:
    """What became of a click, to stand in the place where the click was."""
    place: Message = Message("rollback" if verb == "rollback" else "controls", "good", "")
    if refusal:
        return Message(place.place, "bad", f"Refused: {refusal}")
    target = f" to {percentage} %" if percentage is not None and verb == "set" else ""
    text = _DONE[verb]
    return Message(place.place, "good", text if text.endswith(".") else f"{text}{target}.")
