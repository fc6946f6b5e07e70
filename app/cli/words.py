"""The service's answers as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.cli.terminal import table
from rollout import formats
from rollout.views import (
    AuditEntry,
    CellState,
    ErrorGroup,
    PathFigures,
    Preview,
    RollbackView,
    RolloutView,
    SessionView,
    UserView,
)

if TYPE_CHECKING:
    from app.cli.known_token import KnownToken

NO_DATA = "no data"


def sentence(view: RolloutView) -> str:
    """Where the rollout is, in one sentence."""
    if view.phase == "rolled_back" or view.lock is not None:
        return "Everyone is on v2: rolled back, locked until a manager unlocks."
    if view.forced is not None:
        return f"Everyone is on {'v3' if view.forced else 'v2'}: forced by USE_WEBSOCKET_SUPERVISOR_V3."
    if view.phase == "idle":
        return "Everyone is on v2: no rollout is running."
    stage = "" if view.stage is None else f", stage {view.stage + 1} of {len(view.plan.stages)}"
    return f"{view.percentage} % of users on v3: {view.phase}{stage}."


def what_next(view: RolloutView) -> str:
    """The next step, when it comes and what it waits for; empty if there is none."""
    if view.next_percentage is None:
        return ""
    frozen = "" if view.frozen_until is None else f"; frozen until {formats.timestamp(view.frozen_until)}"
    wait = None if view.next_at is None else max(0.0, view.next_at - view.now)
    if view.phase == "idle":
        return f"next: {view.next_percentage} % by the plan's schedule, in {formats.duration(wait or 0.0)}{frozen}"
    if view.stage is not None and view.plan.stages[view.stage].advance == "automatic" and wait is not None:
        in_time = f" in {formats.countdown(wait)}" if wait else ""
        return f"next: {view.next_percentage} %{in_time}, once every guardrail passes{frozen}"
    left = "" if wait is None else f"; {formats.countdown(wait)} of baking left" if wait else "; the bake is over"
    return f"next: {view.next_percentage} %, when a person promotes{left}"


def status(view: RolloutView) -> str:
    """The output of `crossfade status`."""
    lines = [sentence(view)]
    if following := what_next(view):
        lines.append(following)
    if view.changed_by:
        changed = ago(view.now, view.changed_at)
        lines.append(f"revision {view.revision} by {view.changed_by}, {changed}: {view.reason or '-'}")
    else:
        lines.append(f"revision {view.revision}: nobody has changed anything yet")
    if view.lock is not None:
        locked = ago(view.now, view.lock.since)
        lines.append(f"lock {view.lock.generation} by {view.lock.by}, {locked}: {view.lock.reason or '-'}")
        if view.lock.durability:
            lines.append(not_durable(view) or f"the lock is kept {view.lock.durability}")
    if view.last_rollback is not None:
        lines.append("last rollback: " + rollback(view.last_rollback, view.cells))
    lines += ["", paths(view.paths)]
    if silent := [cell for cell in view.cells if cell.silent]:
        names = ", ".join(f"{cell.name} {formats.duration(cell.silent_s)} ago" for cell in silent)
        lines.append(f"includes the last figures of silent cells: {names}")
    lines += [f"builds: {note}" for note in view.build_notes]
    if view.verdicts:
        rows = [(v.guardrail, v.verdict, v.words, _evidence(v.evidence, v.limit)) for v in view.verdicts]
        lines += ["", table(("guardrail", "verdict", "words", "evidence of harm"), rows)]
    lines += [
        "",
        f"flag {view.flag}, Unleash {view.unleash}, {formats.duration(view.flag_age_s)} old; {_cells(view.cells)}",
    ]
    if view.moving:
        lines.append(f"{view.moving} sessions move at the end of their message")
    return "\n".join(lines)


def paths(figures: Sequence[PathFigures]) -> str:
    heads = ("path", "state", "build", "sessions", "users", "messages", "errors", "p50", "p99", "memory", "restarts")
    return table(heads, [_path(each) for each in figures])


def _path(each: PathFigures) -> tuple[str, ...]:
    state = "available" if each.available else f"unavailable: {each.unavailable_reason or 'unknown'}"
    rate = "" if each.error_rate is None else f" ({formats.percent(each.error_rate)})"
    return (
        each.path,
        state,
        each.build or NO_DATA,
        str(each.sessions),
        str(each.users),
        str(each.messages),
        f"{each.errors} of {each.messages}{rate}",
        _known(each.p50_ms, formats.milliseconds),
        _known(each.p99_ms, formats.milliseconds),
        _known(each.memory_bytes, formats.size),
        str(each.restarts),
    )


def rollback(done: RollbackView, cells: Sequence[CellState]) -> str:
    """What was observed of a rollback: its two clocks, if they are known, or the silent cells."""
    clocks = (("new stopped in", done.new_stopped_ms), ("existing moved in", done.existing_moved_ms))
    observed = [f"{name} {formats.milliseconds(value)}" for name, value in clocks if value is not None]
    observed.append(f"{done.sessions_moved} of {done.sessions_to_move} sessions moved")
    figures = ", ".join([*observed, f"{done.closed} closed", f"{done.interrupted} interrupted"])
    if done.verified_at is not None:
        return f"verified {formats.timestamp(done.verified_at)}{_undurable(done)}; {figures}"
    return f"{in_force(done, cells)}; not verified{_undurable(done)}; {figures}"


def _undurable(done: RollbackView) -> str:
    return "" if done.durable else f", {done.durability}"


def in_force(done: RollbackView, cells: Sequence[CellState]) -> str:
    """In how many cells a rollback is in force, and which cells have been silent for how long."""
    silence = {cell.name: cell.silent_s for cell in cells}
    total = len(set(done.cells) | set(done.silent_cells))
    text = f"in force in {len(done.cells)} of {formats.plural(total, 'cell')}"
    if not done.silent_cells:
        return text
    names = ", ".join(
        f"{name} silent for {formats.duration(silence[name])}" if name in silence else f"{name} silent"
        for name in done.silent_cells
    )
    return f"{text}; {names}"


def durable(view: RolloutView) -> bool:
    """Whether the rollback in force would be found again after a crash of the host that answered."""
    return view.lock is None or view.lock.durable


def not_durable(view: RolloutView) -> str:
    """What is to be done while the rollback in force is not durable; empty: it is."""
    if view.lock is None or view.lock.durable:
        return ""
    return (
        f"{view.lock.durability}: a crash or a restart of this host would put users back on v3. Mend that; the service "
        "tries again every second, and `crossfade status` shows when it is done."
    )


def preview(view: Preview) -> str:
    """How many users and sessions a percentage would move, in both directions."""
    moves = [
        f"{formats.plural(users, 'user')} and {formats.plural(sessions, 'open session')} to {path}"
        for path, users, sessions in (
            ("v3", view.users_to_v3, view.sessions_to_v3),
            ("v2", view.users_to_v2, view.sessions_to_v2),
        )
        if users or sessions
    ]
    stateless = view.sessions_without_state
    without = f"; {formats.plural(stateless, 'session')} cannot take their state along" if stateless else ""
    return f"{view.percentage} % moves {' and '.join(moves) or 'nobody who is connected now'}{without}"


def user(view: UserView) -> str:
    pin = f", pinned to {view.pin}" if view.pin else ""
    head = f"{view.user_id}: {view.path} ({view.reason}; bucket {view.bucket}, percentage {view.percentage}{pin})"
    return f"{head}\n{sessions(view.sessions)}" if view.sessions else f"{head}\nno open session"


def sessions(rows: Sequence[SessionView]) -> str:
    heads = ("user", "path", "reason", "state", "messages", "queued", "epoch", "cell", "since", "connection")
    return table(
        heads,
        [
            (
                each.user_id,
                each.path,
                each.reason,
                each.state,
                str(each.messages),
                str(each.queued),
                str(each.epoch),
                each.cell,
                formats.timestamp(each.connected_at),
                each.connection_id,
            )
            for each in rows
        ],
    )


def events(rows: Sequence[AuditEntry]) -> str:
    return table(
        ("id", "when", "who", "from", "what", "why"),
        [
            (str(e.id), formats.timestamp(e.at), f"{e.who} ({e.role})" if e.role else e.who, e.source, e.what, e.reason)
            for e in rows
        ],
    )


def tokens(rows: Sequence[KnownToken]) -> str:
    return table(
        ("id", "kind", "name", "role", "made", "valid until", ""),
        [(e.id, e.kind, e.name, e.role, _day(e.created_at), _day(e.expires_at) or "no end", e.state) for e in rows],
    )


def _day(at: float | None) -> str:
    """The day of a Unix time, in UTC; empty for None."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).date().isoformat()


def errors(rows: Sequence[ErrorGroup]) -> str:
    """The groups, first those seen only on v3, which matter most to a rollout."""
    ordered = sorted(rows, key=lambda group: (not group.only_on_v3, -group.count))
    return table(
        ("path", "code", "count", "users", "last", "reference", ""),
        [
            (
                e.path,
                e.code,
                str(e.count),
                str(e.users),
                formats.timestamp(e.last_at),
                e.reference,
                "only on v3" * e.only_on_v3,
            )
            for e in ordered
        ],
    )


def ago(now: float, then: float) -> str:
    return f"{formats.duration(max(0.0, now - then))} ago"


def _known(value: float | None, text: Callable[[float], str]) -> str:
    return NO_DATA if value is None else text(value)


def _evidence(evidence: float | None, limit: float | None) -> str:
    if evidence is None:
        return NO_DATA
    return f"{evidence:.1f}x" if limit is None else f"{evidence:.1f}x, rolls back at {limit:.0f}x"


def _cells(cells: Sequence[CellState]) -> str:
    silent = [cell.name for cell in cells if cell.silent]
    text = formats.plural(len(cells), "cell")
    return f"{text}, silent: {', '.join(silent)}" if silent else text
