"""The history: everything that was done, searched, page by page or as a file, and notes that people leave in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect, Stream
from msgspec import Struct, structs

from dashboards.base.page import ClickResult, Fact, LivePage, chrome, top
from dashboards.base.person import Person, why_not_role
from dashboards.base.visit import Form, Mistyped, TheVisit, Visit, answer
from dashboards.export import MEDIA_TYPES, PIECE, Kind, export
from rollout import formats
from rollout.views import AuditEntry, AuditFilter, AuditPage, RolloutView

SHOWN = 50
"""Entries on one page."""
LAST_ENTRY = 2**63 - 1
"""Largest id of an entry that a store can hold."""
FIRST_YEAR, LAST_YEAR = 1970, 9000
"""Days of other years are mistyped, and the last ones have no day after them."""


class Search(Struct, frozen=True, kw_only=True):
    """The fields of the search form as they were typed; empty: any."""

    q: str = ""
    """Anywhere in an entry."""
    who: str = ""
    what: str = ""
    since: str = ""
    """The first day, UTC, such as `2026-01-31`."""
    until: str = ""
    """The last day, the whole of it."""

    def __bool__(self) -> bool:
        return any(structs.astuple(self))

    def wanted(self) -> AuditFilter:
        """Raises ValueError, in words for a person, when a day is not one."""
        since, until = _midnight(self.since), _midnight(self.until)
        return AuditFilter(
            who=self.who,
            what=self.what,
            text=self.q,
            since=None if since is None else since.timestamp(),
            until=None if until is None else (until + timedelta(days=1)).timestamp(),
        )

    def query(self, before: int | None = None) -> str:
        """The query of an address that means this search, with its question mark; empty when nothing is searched."""
        said = {name: value for name, value in structs.asdict(self).items() if value}
        if before is not None:
            said["before"] = str(before)
        return f"?{urlencode(said)}" if said else ""


NO_SEARCH = Search()


def search_of(field: Callable[[str], str]) -> Search:
    """The search that a form's fields describe."""
    return Search(**{name: field(name) for name in Search.__struct_fields__})


def _midnight(day: str) -> datetime | None:
    if not day:
        return None
    try:
        midnight = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
        if not FIRST_YEAR <= midnight.year <= LAST_YEAR:
            raise ValueError
    except ValueError:
        raise ValueError(f"{day[:20]!r} is not a day; write one like 2026-01-31") from None
    return midnight


class Entry(Struct, frozen=True):
    at: str
    at_iso: str
    who: str
    source: str
    what: str
    reason: str
    revision: int


class HistorySection(Struct, frozen=True):
    items: list[Entry]
    older: str
    """Address of the next page, with older entries; empty at the end."""
    empty: str
    """Said where there is no entry."""


class NoteForm(Struct, frozen=True):
    """The box for a remark; `why_not` is empty when this person may leave one."""

    why_not: str


class HistoryPage(LivePage, frozen=True, kw_only=True):
    template = "history.html"
    sections = ("top", "history")
    message: ClickResult | None
    search: Search
    exports: list[Fact]
    """What a file is called, and its address."""
    note: NoteForm
    history: HistorySection


def history_page(
    view: RolloutView,
    audit: AuditPage,
    person: Person,
    csrf_token: str,
    *,
    search: Search = NO_SEARCH,
    older: bool = False,
    message: ClickResult | None = None,
) -> HistoryPage:
    """`older`: not the newest page, which is the only one that changes by itself."""
    query = search.query()
    return HistoryPage(
        chrome=chrome(view, "History", "history", person, "" if older else f"/sections/history{query}"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        search=search,
        exports=[Fact(kind, f"/history.{kind}{query}") for kind in MEDIA_TYPES],
        note=note_form(person),
        history=history(audit, view.now, search),
    )


def note_form(person: Person) -> NoteForm:
    return NoteForm(why_not_role(person, "note"))


def history(audit: AuditPage, now: float, search: Search = NO_SEARCH) -> HistorySection:
    older = "" if audit.next is None else f"/history{search.query(audit.next)}"
    empty = "No entry matches your search." if search else "Nothing has been done yet."
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


async def show_history(visit: Visit, before: int | None = None, message: ClickResult | None = None) -> HistoryPage:
    search = search_of(visit.query)
    try:
        audit = await visit.source.events(before, SHOWN, search.wanted())
    except ValueError as wrong:
        audit, message = AuditPage(items=[], next=None), ClickResult("note", "bad", f"{wrong}.")
    view = await visit.source.rollout()
    older = before is not None
    return history_page(view, audit, visit.person, visit.csrf, search=search, older=older, message=message)


@get("/history")
async def get_history(
    visit: TheVisit, before: Annotated[int | None, QueryParameter(ge=1, le=LAST_ENTRY)] = None
) -> Response[str]:
    return answer(await show_history(visit, before))


@get([f"/history.{kind}" for kind in MEDIA_TYPES])
async def get_export(visit: TheVisit) -> Response[Any]:
    """Every entry that the search finds, however many there are."""
    kind: Kind = "csv" if visit.request.url.path.endswith(".csv") else "jsonl"
    try:
        wanted = search_of(visit.query).wanted()
    except ValueError as wrong:
        raise Mistyped(str(wrong)) from None
    pieces = await export(kind, None, lambda before: visit.source.exported(before, PIECE, wanted))
    return Stream(
        pieces,
        media_type=MEDIA_TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="crossfade-history.{kind}"'},
        status_code=200,
    )


@post("/notes")
async def post_note(visit: TheVisit, data: Form) -> Response[Any]:
    text = data.get("text", "").strip()
    refusal = (await visit.source.note(text, visit.person)).refusal if text else "a note needs some text"
    if not refusal:
        return Redirect("/" if data.get("back") == "overview" else "/history", status_code=303)
    message = ClickResult("note", "bad", f"Refused: {refusal}")
    return answer(await show_history(visit, message=message), 409)


ROUTES = (get_history, get_export, post_note)
