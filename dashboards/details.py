"""Sessions, users, errors and the health of the parts → the contexts of their pages. Pure; the clock is in the view."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, urlencode

from dashboards import words
from dashboards.contexts import (
    CellRow,
    ErrorRow,
    ErrorsPage,
    ErrorsSection,
    Fact,
    HealthPage,
    HealthSection,
    Message,
    PathRow,
    SessionRow,
    SessionsPage,
    SessionsSection,
    SettingRow,
    UserPage,
    UserSection,
)
from dashboards.controls import why_not_role
from dashboards.overview import SILENT_S, chrome, top
from dashboards.ports import Person
from dashboards.views import (
    CellState,
    ErrorGroup,
    HealthView,
    PathFigures,
    RolloutView,
    SessionsView,
    SessionView,
    UserView,
)

WHY = {
    "environment": "forced by the environment of the service",
    "rolled_back": "a rollback is in force",
    "v3_unavailable": "v3 is not available",
    "pinned": "pinned by a person",
    "flag": "the percentage, by hash of the user id",
}
"""The reason of an assignment in words; one that is not here is shown as it is."""


def why(reason: str) -> str:
    return WHY.get(reason, reason.replace("_", " "))


def sessions_page(
    view: RolloutView, found: SessionsView, person: Person, csrf_token: str, *, search: str, path: str
) -> SessionsPage:
    query = urlencode({name: value for name, value in (("q", search), ("path", path)) if value})
    return SessionsPage(
        chrome=chrome(view, "Sessions", "sessions", person, "/stream/sessions" + (f"?{query}" if query else "")),
        csrf_token=csrf_token,
        top=top(view),
        search=search,
        path=path,
        sessions=sessions(found, view.now, filtered=bool(search or path)),
    )


def sessions(found: SessionsView, now: float, *, filtered: bool) -> SessionsSection:
    if not found.total:
        return SessionsSection([], "Nobody is connected.", hint=True)
    if not found.items:
        return SessionsSection([], f"None of the {words.plural(found.total, 'open session')} fits.")
    matching = f"{words.count(found.matching)} of {words.plural(found.total, 'open session')} fit"
    summary = matching if filtered else words.plural(found.total, "open session")
    if len(found.items) < found.matching:
        summary += f"; the first {words.count(len(found.items))} are shown, search for the others"
    return SessionsSection([_session(session, now) for session in found.items], summary)


def _session(session: SessionView, now: float) -> SessionRow:
    return SessionRow(
        user_id=session.user_id,
        user=user_address(session.user_id),
        path=session.path,
        why=why(session.reason),
        state=session.state,
        messages=words.count(session.messages),
        queued=words.count(session.queued),
        since=words.moment(session.connected_at, now),
        since_iso=words.iso(session.connected_at),
        connection_id=session.connection_id,
    )


def user_address(user_id: str) -> str:
    return f"/users/{quote(user_id, safe='')}"


def user_page(
    view: RolloutView, user: UserView, person: Person, csrf_token: str, message: Message | None = None
) -> UserPage:
    found = SessionsView(items=user.sessions, matching=len(user.sessions), total=len(user.sessions))
    shown = sessions(found, view.now, filtered=False)
    if not user.sessions:
        shown = SessionsSection([], "Not connected now; this is where a connection would go.")
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
                Fact("bucket", f"{user.bucket} of 100"),
                Fact(
                    "by the percentage", f"buckets 1 to {user.percentage} are on v3" if user.percentage else "all on v2"
                ),
                Fact("pinned to", user.pin or "nothing", "plain" if user.pin else "none"),
            ],
            pin=user.pin or "",
            why_no_pin=why_not_role(person, "manager"),
        ),
        sessions=shown,
    )


def errors(groups: Sequence[ErrorGroup], now: float, limit: int | None = None) -> ErrorsSection:
    """Those seen only on v3 come first, as the service sorts them."""
    rows = [
        ErrorRow(
            code=group.code,
            fingerprint=group.fingerprint,
            path=group.path,
            only_on_v3=group.only_on_v3,
            count=words.count(group.count),
            users=words.plural(group.users, "user"),
            first=words.moment(group.first_at, now),
            first_iso=words.iso(group.first_at),
            last=words.moment(group.last_at, now),
            last_iso=words.iso(group.last_at),
            reference=group.reference,
        )
        for group in groups[:limit]
    ]
    left = len(groups) - len(rows)
    return ErrorsSection(rows, f"{left} more" if left else "")


def errors_page(view: RolloutView, groups: Sequence[ErrorGroup], person: Person, csrf_token: str) -> ErrorsPage:
    return ErrorsPage(
        chrome=chrome(view, "Errors", "errors", person, "/stream/errors"),
        csrf_token=csrf_token,
        top=top(view),
        errors=errors(groups, view.now),
    )


def health_page(view: RolloutView, health: HealthView, person: Person, csrf_token: str) -> HealthPage:
    return HealthPage(
        chrome=chrome(view, "Health", "health", person, "/stream/health"),
        csrf_token=csrf_token,
        top=top(view),
        health=HealthSection(_facts(view, health), [_cell(cell) for cell in view.cells], _paths(view)),
        settings=[
            SettingRow(setting.variable, setting.value, not setting.is_default, setting.meaning.replace("`", ""))
            for setting in health.settings
        ],
    )


def _facts(view: RolloutView, health: HealthView) -> list[Fact]:
    store = "does not answer; only a rollback works" if health.store_down else "answers"
    forced = "not set" if view.forced is None else f"{'true' if view.forced else 'false'}: it decides for everyone"
    return [
        Fact("store", f"{health.store} {store}", "bad" if health.store_down else "good"),
        Fact("flag", view.flag),
        Fact("flag in the environment", forced, "plain" if view.forced is None else "warn"),
        Fact("flag read", f"{words.duration(view.flag_age_s)} ago", "plain"),
        Fact("Unleash", view.unleash, "bad" if view.unleash in ("unreachable", "changed outside") else "good"),
        Fact("record", f"revision {view.revision}, changed {words.clock(view.changed_at)}" if view.revision else "new"),
    ]


def _cell(cell: CellState) -> CellRow:
    silent = cell.silent_s >= SILENT_S
    heard = f"silent for {words.duration(cell.silent_s)}" if silent else "heard"
    return CellRow(
        cell.name,
        Fact("heard", heard, "bad" if silent else "good"),
        words.count(cell.sessions),
        words.count(cell.revision),
        "locked on v2" if cell.has_lock else "no lock",
    )


def _paths(view: RolloutView) -> list[PathRow]:
    return [
        PathRow(
            path=path.path,
            state=Fact("worker", "serves", "good") if path.available else Fact("worker", _reason(path), "bad"),
            build=path.build or "no data",
            sessions=words.count(path.sessions),
            memory="no data" if path.memory_bytes is None else words.size(path.memory_bytes),
            restarts=words.count(path.restarts),
            up="no data" if path.uptime_s is None else words.duration(path.uptime_s),
        )
        for path in view.paths
    ]


def _reason(path: PathFigures) -> str:
    return f"not available: {path.unavailable_reason or 'no reason is known'}"
