"""The receipt of a rollback as Markdown, for a ticket or a chat.

Pure text; it must not know how anything in it was observed.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dashboards.views import ReceiptView


def to_markdown(receipt: ReceiptView) -> str:
    """One document; all times in UTC."""
    back = receipt.rollback
    state = f"verified at {_moment(back.verified_at)}" if back.verified_at else "in force, not yet verified"
    lines = [
        f"# Rollback {back.id}",
        "",
        f"By {back.by} at {_moment(back.at)}, from {receipt.from_percentage} %: {back.reason or 'no reason given'}",
        "",
        f"- {state}; cells: {', '.join(back.cells)}",
        f"- no new user on v3 after {_ms(back.new_stopped_ms)}",
        f"- open sessions moved after {_ms(back.existing_moved_ms)}",
        f"- sessions moved {back.sessions_moved} of {back.sessions_to_move}, "
        f"closed {back.closed}, messages interrupted {back.interrupted}",
        *([f"- sessions moved without their state: {back.without_state}"] if back.without_state else []),
        f"- users with an error on v3: {receipt.users_harmed}",
        "",
        "## Errors only on v3",
        "",
    ]
    lines += [
        f"- `{group.code}` {group.fingerprint}: {group.count} times, {group.users} users, reference {group.reference}"
        for group in receipt.errors_only_on_v3
    ] or ["none"]
    lines += ["", "## Timeline", ""]
    lines += [f"- {_moment(entry.at)} {entry.who}: {entry.what} {entry.reason}".rstrip() for entry in receipt.timeline]
    return "\n".join(lines) + "\n"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms"
