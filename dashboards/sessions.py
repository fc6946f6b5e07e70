"""The open sessions, searched and page by page; each row says why its user is where they are."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import quote, urlencode

from litestar import Response, get
from msgspec import Struct, structs

from dashboards.base.page import ClickResult, LivePage, chrome, not_heard, top
from dashboards.base.person import Person, why_not_role
from dashboards.base.visit import TheVisit, Visit, answer
from rollout import formats
from rollout.names import PathName
from rollout.views import RolloutView, SessionsView, SessionView

SHOWN = 100
"""Sessions on one page."""
SLOW_S = 5.0
"""A list of thousands of sessions is made again at most this often for an open page."""
WHY = {
    "environment": "forced by the environment of the service",
    "rolled_back": "a rollback is in force",
    "v3_unavailable": "v3 is not available",
    "pinned": "pinned by a person",
    "flag": "the percentage, by hash of the user id",
}
"""The reason of an assignment in words; one that is missing here is shown as it is."""
SessionKey: TypeAlias = tuple[str, str]
"""User and connection: the order of the sessions."""


class SessionRow(Struct, frozen=True):
    user_id: str
    user: str
    """Address of the user's page."""
    path: str
    why: str
    state: str
    messages: str
    queued: str
    since: str
    since_iso: str
    connection_id: str


class SessionsSection(Struct, frozen=True):
    rows: list[SessionRow]
    summary: str
    hint: bool = False
    """Say how to get some."""
    missing: str = ""
    """Whose sessions are not among these."""
    more: str = ""
    """Address of the next page; empty at the end."""
    first: str = ""
    """Address of the first page; empty on it."""


class SessionsPage(LivePage, frozen=True, kw_only=True):
    template = "sessions.html"
    sections = ("top", "sessions")
    message: ClickResult | None
    search: str
    path: str
    sessions: SessionsSection
    pinned: str
    """The user that the form for pins begins with."""
    why_no_pin: str
    """Empty when this person may pin."""


def sessions_page(
    view: RolloutView,
    found: SessionsView,
    person: Person,
    csrf_token: str,
    *,
    search: str,
    path: str,
    after: SessionKey | None = None,
    message: ClickResult | None = None,
) -> SessionsPage:
    users = {session.user_id for session in found.items}
    sections = f"/sections/sessions{_query(search, path, cursor_of(after) if after else '')}"
    return SessionsPage(
        chrome=structs.replace(chrome(view, "Sessions", "sessions", person, sections), every_s=SLOW_S),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        search=search,
        path=path,
        sessions=_page_of(found, view.now, search, path),
        pinned=users.pop() if search and len(users) == 1 else "",
        why_no_pin=why_not_role(person, "pin"),
    )


def _page_of(found: SessionsView, now: float, search: str, path: str) -> SessionsSection:
    """The sessions with links to those that are on other pages."""
    shown = sessions(found, now, filtered=bool(search or path))
    last = found.before + len(found.items)
    more = found.items and last < found.matching
    return structs.replace(
        shown,
        more=f"/sessions{_query(search, path, cursor_of(_key(found.items[-1])))}" if more else "",
        first=f"/sessions{_query(search, path, '')}" if found.before else "",
    )


def _query(search: str, path: str, after: str) -> str:
    said = {name: value for name, value in (("q", search), ("path", path), ("after", after)) if value}
    return f"?{urlencode(said)}" if said else ""


def _key(session: SessionView) -> SessionKey:
    return session.user_id, session.connection_id


def cursor_of(key: SessionKey) -> str:
    """A session's place in the order, for an address. A connection's id has no space, a user's may have one."""
    return f"{key[1]} {key[0]}"


def key_of(cursor: str) -> SessionKey | None:
    """What `cursor_of` was made from; None: it is no cursor, so the list begins at the beginning."""
    connection_id, space, user_id = cursor.partition(" ")
    return (user_id, connection_id) if space else None


def sessions(found: SessionsView, now: float, *, filtered: bool) -> SessionsSection:
    missing = not_heard(found.missing_cells)
    many = formats.plural(found.total, "open session")
    if not found.total:
        return SessionsSection([], "Nobody is connected.", hint=not missing, missing=missing)
    if not found.matching:
        return SessionsSection([], f"None of the {many} matches.", missing=missing)
    summary = f"{formats.count(found.matching)} of {many} match" if filtered else many
    if len(found.items) < found.matching:
        last = found.before + len(found.items)
        shown = f"{formats.count(found.before + 1)} to {formats.count(last)}" if found.items else "none"
        summary += f"; showing {shown}, search to narrow"
    return SessionsSection([_session(session, now) for session in found.items], summary, missing=missing)


def _session(session: SessionView, now: float) -> SessionRow:
    return SessionRow(
        user_id=session.user_id,
        user=user_address(session.user_id),
        path=session.path,
        why=why(session.reason),
        state=session.state,
        messages=formats.count(session.messages),
        queued=formats.count(session.queued),
        since=formats.moment(session.connected_at, now),
        since_iso=formats.iso(session.connected_at),
        connection_id=session.connection_id,
    )


def why(reason: str) -> str:
    return WHY.get(reason, reason.replace("_", " "))


def user_address(user_id: str) -> str:
    return f"/users/{quote(user_id, safe='')}"


async def show_sessions(visit: Visit, message: ClickResult | None = None) -> SessionsPage:
    search, path = visit.query("q"), path_of(visit.query("path"))
    after = key_of(str(visit.request.query_params.get("after", "")))
    found = await visit.source.sessions(search, path, SHOWN, after)
    return sessions_page(
        await visit.source.rollout(),
        found,
        visit.person,
        visit.csrf,
        search=search,
        path=path or "",
        after=after,
        message=message,
    )


def path_of(text: str) -> PathName | None:
    """The path that a form names; None: none of them."""
    return "v2" if text == "v2" else "v3" if text == "v3" else None


@get("/sessions")
async def get_sessions(visit: TheVisit) -> Response[str]:
    return answer(await show_sessions(visit))


ROUTES = (get_sessions,)
