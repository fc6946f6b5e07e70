"""A rollout, its audit and a person → the contexts of the pages. Pure; the clock is in the view."""

from __future__ import annotations

from collections.abc import Mapping

from dashboards.contexts import (
    ChartsSection,
    Chrome,
    ClickResult,
    Entry,
    ErrorsSection,
    Fact,
    HistoryPage,
    HistorySection,
    Icon,
    NoteForm,
    OverviewPage,
    PageName,
    Tone,
    Top,
    TryPage,
)
from dashboards.controls import controls, why_not, why_not_role
from dashboards.figures import figures
from dashboards.ports import Person, Verb
from dashboards.search import NOTHING, Search
from dashboards.state import rollback, state
from rollout import formats
from rollout.views import AuditEntry, AuditPage, Preview, RolloutView

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


def chrome(view: RolloutView, title: str, page: PageName, person: Person, stream: str = "") -> Chrome:
    """The frame of a page for somebody who is signed in; the icon tells the state on every page."""
    icon: Icon = state(view).icon
    return Chrome(f"{title} – Crossfade", icon, page, person.name, person.role, stream)  # noqa: RUF001


def overview_page(
    view: RolloutView,
    audit: AuditPage,
    person: Person,
    *,
    previews: Mapping[int, Preview],
    charts: ChartsSection,
    errors: ErrorsSection,
    csrf_token: str,
    message: ClickResult | None = None,
) -> OverviewPage:
    now = state(view)
    return OverviewPage(
        chrome=chrome(view, now.title, "overview", person, "/stream/overview"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        state=now,
        rollback=rollback(view, why_not(view, person, "rollback")),
        controls=controls(view, person, previews),
        figures=figures(view),
        charts=charts,
        note=note_form(person),
        history=history(audit, view.now),
        errors=errors,
    )


def try_page(view: RolloutView, person: Person, csrf_token: str) -> TryPage:
    now = state(view)
    return TryPage(
        chrome=chrome(view, now.title, "try", person, "/stream/try"),
        csrf_token=csrf_token,
        message=None,
        top=top(view),
        state=now,
        rollback=rollback(view, why_not(view, person, "rollback")),
    )


def history_page(
    view: RolloutView,
    audit: AuditPage,
    person: Person,
    csrf_token: str,
    *,
    search: Search = NOTHING,
    older: bool = False,
    message: ClickResult | None = None,
) -> HistoryPage:
    """`older`: not the newest page, which is the only one that changes by itself."""
    query = search.query()
    return HistoryPage(
        chrome=chrome(view, "History", "history", person, "" if older else f"/stream/history{query}"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        search=search,
        exports=[Fact(label, f"/history.{label}{query}") for label in ("csv", "jsonl")],
        note=note_form(person),
        history=history(audit, view.now, search),
    )


def note_form(person: Person) -> NoteForm:
    return NoteForm(why_not_role(person, "note"))


def top(view: RolloutView) -> Top:
    age = "" if view.unleash == "embedded" else f", {formats.duration(view.flag_age_s)}"  # embedded: always as of now
    return Top(
        as_of=formats.clock(view.now),
        environment=view.environment,
        flag=view.flag,
        unleash=Fact("Unleash", f"Unleash {view.unleash}{age}", _UNLEASH.get(view.unleash, "bad")),
        cells=_cells(view),
    )


def _cells(view: RolloutView) -> Fact:
    silent = [cell for cell in view.cells if cell.silent]
    if not silent:
        return Fact("Cells", formats.plural(len(view.cells), "cell"), "good")
    names = ", ".join(f"{cell.name} silent for {formats.duration(cell.silent_s)}" for cell in silent)
    return Fact("Cells", f"{len(silent)} of {formats.plural(len(view.cells), 'cell')}: {names}", "bad")


def history(audit: AuditPage, now: float, search: Search = NOTHING) -> HistorySection:
    older = "" if audit.next is None else f"/history{search.query(audit.next)}"
    empty = "Nothing here is what you search for." if search else "Nothing was done yet."
    return HistorySection([entry_of(entry, now) for entry in audit.items], older, empty)


def entry_of(entry: AuditEntry, now: float) -> Entry:
    return Entry(
        at=formats.moment(entry.at, now),
        at_iso=formats.iso(entry.at),
        who=f"{entry.who} ({entry.role})" if entry.role else entry.who,
        source=entry.source,
        what=entry.what,
        reason=entry.reason,
        revision=entry.revision,
    )


def outcome_message(verb: Verb, percentage: int | None, refusal: str) -> ClickResult:
    """What became of a click, to stand in the place where the click was."""
    place: ClickResult = ClickResult("rollback" if verb == "rollback" else "controls", "good", "")
    if refusal:
        return ClickResult(place.place, "bad", f"Refused: {refusal}")
    target = f" to {percentage} %" if percentage is not None and verb in ("set", "promote") else ""
    text = _DONE[verb]
    return ClickResult(place.place, "good", text if text.endswith(".") else f"{text}{target}.")
