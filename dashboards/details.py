"""Sessions, users, errors and the health of the parts → the contexts of their pages. Pure; the clock is in the view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import quote, urlencode

from msgspec import structs

from dashboards.contexts import (
    CellRow,
    ClickResult,
    ErrorRow,
    ErrorsPage,
    ErrorsSection,
    Fact,
    HealthPage,
    HealthSection,
    SessionRow,
    SessionsPage,
    SessionsSection,
    SettingRow,
    UserPage,
    UserSection,
    WorkerRow,
)
from dashboards.controls import why_not_role
from dashboards.overview import chrome, top
from dashboards.ports import Person
from rollout import formats
from rollout.views import (
    CellState,
    ErrorGroup,
    ErrorsView,
    HealthView,
    RolloutView,
    SessionsView,
    SessionView,
    SettingView,
    UserView,
    WorkerView,
)

WHY = {
    "environment": "forced by the environment of the service",
    "rolled_back": "a rollback is in force",
    "v3_unavailable": "v3 is not available",
    "pinned": "pinned by a person",
    "flag": "the percentage, by hash of the user id",
}
"""The reason of an assignment in words; one that is not here is shown as it is."""
SessionKey: TypeAlias = tuple[str, str]
"""User and connection: the order of the sessions."""


def why(reason: str) -> str:
    return WHY.get(reason, reason.replace("_", " "))


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
    return SessionsPage(
        chrome=chrome(
            view,
            "Sessions",
            "sessions",
            person,
            f"/stream/sessions{_query(search, path, cursor_of(after) if after else '')}",
        ),
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
    """The sessions with the ways to those that are on other pages."""
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
    """A session's place in the order, for an address. A connection's id has no space, a user's may have."""
    return f"{key[1]} {key[0]}"


def key_of(cursor: str) -> SessionKey | None:
    """What `cursor_of` made; None: it is none, so that one begins at the beginning."""
    connection_id, space, user_id = cursor.partition(" ")
    return (user_id, connection_id) if space else None


def sessions(found: SessionsView, now: float, *, filtered: bool) -> SessionsSection:
    missing = _missing(found.missing_cells)
    if not found.total:
        return SessionsSection([], "Nobody is connected.", hint=not missing, missing=missing)
    if not found.matching:
        return SessionsSection([], f"None of the {formats.plural(found.total, 'open session')} fits.", missing=missing)
    many = formats.plural(found.total, "open session")
    summary = f"{formats.count(found.matching)} of {many} fit" if filtered else many
    if len(found.items) < found.matching:
        last = found.before + len(found.items)
        shown = f"{formats.count(found.before + 1)} to {formats.count(last)}" if found.items else "none"
        summary += f"; showing {shown}, search to narrow"
    return SessionsSection([_session(session, now) for session in found.items], summary, missing=missing)


def _missing(cells: Sequence[str]) -> str:
    return f"Not heard, so not among these: cell {', '.join(cells)}." if cells else ""


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


def user_address(user_id: str) -> str:
    return f"/users/{quote(user_id, safe='')}"


def user_page(
    view: RolloutView, user: UserView, person: Person, csrf_token: str, message: ClickResult | None = None
) -> UserPage:
    many = len(user.sessions)
    found = SessionsView(items=user.sessions, matching=many, total=many, missing_cells=user.missing_cells)
    shown = sessions(found, view.now, filtered=False)
    if not user.sessions:
        shown = structs.replace(shown, summary="Not connected now; this is where a connection would go.", hint=False)
    return UserPage(
        chrome=chrome(view, user.user_id, "sessions", person, f"/stream/user?{urlencode({'id': user.user_id})}"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        user=UserSection(
            id=user.user_id,
            headline=f"is on {user.path}" if user.sessions else f"would be on {user.path}",
            why=why(user.reason),
            facts=[
                Fact("bucket", f"{user.bucket} of 100, by hash of the user id"),
                Fact("by the percentage", _arithmetic(user)),
                Fact("at other percentages", _at_others(user)),
                Fact("pinned to", user.pin or "nothing", "plain" if user.pin else "none"),
            ],
            pin=user.pin or "",
            why_no_pin=why_not_role(person, "pin"),
        ),
        sessions=shown,
    )


def _arithmetic(user: UserView) -> str:
    """`bucket 7 ≤ 10 %: v3`."""
    if user.bucket > user.percentage:
        return f"bucket {user.bucket} > {user.percentage} %: v2"
    within = f"bucket {user.bucket} ≤ {user.percentage} %"
    if user.reason == "flag" and user.path == "v2":
        return f"{within}, but the flag's other conditions keep this user on v2"
    return f"{within}: v3"


def _at_others(user: UserView) -> str:
    alone = f"v2 below {user.bucket} %, v3 from {user.bucket} % on"
    if user.pin is not None:
        return f"{user.pin} as long as it is pinned; without the pin {alone}"
    if user.reason == "environment":
        return f"none changes this while the environment decides; without it {alone}"
    return alone


def all_errors(found: ErrorsView, now: float, limit: int | None = None) -> ErrorsSection:
    """Those of all cells that were heard."""
    return structs.replace(errors(found.items, now, limit), missing=_missing(found.missing_cells))


def errors(groups: Sequence[ErrorGroup], now: float, limit: int | None = None) -> ErrorsSection:
    """Those seen only on v3 come first, as the service sorts them."""
    rows = [
        ErrorRow(
            code=group.code,
            fingerprint=group.fingerprint,
            path=group.path,
            only_on_v3=group.only_on_v3,
            count=formats.count(group.count),
            users=formats.plural(group.users, "user"),
            first=formats.moment(group.first_at, now),
            first_iso=formats.iso(group.first_at),
            last=formats.moment(group.last_at, now),
            last_iso=formats.iso(group.last_at),
            reference=group.reference,
        )
        for group in groups[:limit]
    ]
    left = len(groups) - len(rows)
    return ErrorsSection(rows, f"{left} more" if left else "")


def errors_page(view: RolloutView, found: ErrorsView, person: Person, csrf_token: str) -> ErrorsPage:
    return ErrorsPage(
        chrome=chrome(view, "Errors", "errors", person, "/stream/errors"),
        csrf_token=csrf_token,
        top=top(view),
        errors=all_errors(found, view.now),
    )


def health_page(view: RolloutView, health: HealthView, person: Person, csrf_token: str) -> HealthPage:
    return HealthPage(
        chrome=chrome(view, "Health", "health", person, "/stream/health"),
        csrf_token=csrf_token,
        top=top(view),
        health=HealthSection(
            _facts(view, health),
            [_cell(cell, health.leader) for cell in view.cells],
            [_worker(worker) for worker in health.workers],
        ),
        changed=[_setting(setting) for setting in health.settings if not setting.is_default],
        defaults=[
            _setting(setting)
            for setting in sorted(health.settings, key=lambda setting: setting.meaning.startswith("reserved"))
            if setting.is_default
        ],
    )


def _setting(setting: SettingView) -> SettingRow:
    return SettingRow(setting.variable, setting.value, setting.meaning.replace("`", ""))


def _facts(view: RolloutView, health: HealthView) -> list[Fact]:
    record = f"revision {view.revision}, changed {formats.clock(view.changed_at)}" if view.revision else "new"
    store = "does not answer; only a rollback works" if health.store_down else "answers"
    forced = "not set" if view.forced is None else f"{'true' if view.forced else 'false'}: it decides for everyone"
    return [
        Fact("store", f"{health.store} {store}", "bad" if health.store_down else "good"),
        Fact("flag in the environment", forced, "plain" if view.forced is None else "warn"),
        Fact("flag read", f"{formats.duration(view.flag_age_s)} ago", "plain"),
        Fact("Unleash", view.unleash, "bad" if view.unleash in ("unreachable", "changed outside") else "good"),
        _leader(view, health),
        Fact("record", record),
    ]


def _leader(view: RolloutView, health: HealthView) -> Fact:
    label = "automatic steps are taken by"
    if health.leader:
        silent = any(cell.name == health.leader and cell.silent for cell in view.cells)
        return Fact(
            label, f"cell {health.leader}{', which is silent' if silent else ''}", "warn" if silent else "plain"
        )
    return Fact(label, "not known while the store is away" if health.store_down else "nobody just now", "warn")


def _cell(cell: CellState, leader: str) -> CellRow:
    ago = formats.duration(cell.silent_s)
    if cell.silent:
        heard = Fact("heard", f"silent for {ago}; what is said of it is so old", "bad")
    else:
        heard = Fact("heard", f"heard {ago} ago" if cell.silent_s else "answers", "good")
    return CellRow(
        cell.name,
        heard,
        formats.count(cell.sessions),
        formats.count(cell.revision),
        "locked on v2" if cell.has_lock else "no lock",
        cell.name == leader,
    )


def _worker(worker: WorkerView) -> WorkerRow:
    if worker.silent:
        state = Fact("worker", f"not known: its cell is silent for {formats.duration(worker.silent_s)}", "bad")
    elif worker.available:
        state = Fact("worker", "serves", "good")
    else:
        state = Fact("worker", f"not available: {worker.reason or 'no reason is known'}", "bad")
    return WorkerRow(
        cell=worker.cell,
        path=worker.path,
        state=state,
        build=worker.build or "no data",
        sessions=formats.count(worker.sessions),
        memory="no data" if worker.memory_bytes is None else formats.size(worker.memory_bytes),
        restarts=formats.count(worker.restarts),
        up="no data" if worker.uptime_s is None else formats.duration(worker.uptime_s),
    )
