"""The receipt of a rollback as Markdown, for a ticket or a chat: what its page says, in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dashboards.sections.figures import Figure, Row, plain_figures
from rollout import formats
from rollout.views import ReceiptView, RollbackView

NOT_THEN = ("Open sessions", "Users")
"""Counted when the sessions had begun to move already; `sessions moved` says how many there were."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def figures_then(receipt: ReceiptView) -> list[Row]:
    """Both paths when the command came."""
    return [row for row in plain_figures(receipt.figures) if row.name not in NOT_THEN]


def to_markdown(receipt: ReceiptView) -> str:
    """One document; all times in UTC. What people wrote is escaped."""
    return "\n".join((*_head(receipt), *_errors(receipt), *_figures(receipt), *_timeline(receipt))) + "\n"


def _head(receipt: ReceiptView) -> Iterator[str]:
    back = receipt.rollback
    reason = _text(back.reason) or "no reason given"
    yield f"# Rollback {_text(back.id)}"
    yield ""
    yield f"By {_text(back.by)} at {formats.timestamp(back.at)}, from {receipt.from_percentage} %: {reason}"
    yield ""
    yield f"- {_state(back)}"
    if not back.durable:
        yield f"- not durable: {_text(back.durability)}; a restart of the host would end it"
    yield f"- no new user on v3 after {_ms(back, back.new_stopped_ms)}"
    yield f"- open sessions moved after {_ms(back, back.existing_moved_ms)}"
    yield (
        f"- sessions moved {back.sessions_moved} of {back.sessions_to_move}, "
        f"closed {back.closed}, messages interrupted {back.interrupted}"
    )
    if back.without_state:
        yield f"- sessions moved without their state: {back.without_state}"
    yield f"- users with an error on v3: {receipt.users_harmed}"
    for each in receipt.given_up:
        who = f"given up by {_text(each.by)} at {formats.timestamp(each.at)}"
        yield f"- without cell {_text(each.cell)}, {who}: {_text(each.reason)}"


def _state(back: RollbackView) -> str:
    if back.verified_at:
        return f"verified at {formats.timestamp(back.verified_at)}; cells: {_names(back.cells)}"
    waited = f"; waiting for: {_names(back.silent_cells)}" if back.silent_cells else ""
    return f"in force, not yet verified; cells that have it: {_names(back.cells)}{waited}"


def _errors(receipt: ReceiptView) -> Iterator[str]:
    yield from ("", "## Errors only on v3", "")
    for group in receipt.errors_only_on_v3:
        reference = f", reference {_text(group.reference)}" if group.reference else ""
        yield f"- {_text(group.code)} {_text(group.fingerprint)}: {group.count} times, {group.users} users{reference}"
    if not receipt.errors_only_on_v3:
        yield "none"


def _figures(receipt: ReceiptView) -> Iterator[str]:
    yield from ("", "## When the command came", "", "| | v2 | v3 | v3 − v2 |", "| --- | --- | --- | --- |")  # noqa: RUF001
    for row in figures_then(receipt):
        yield f"| {row.name} | {_figure(row.v2)} | {_figure(row.v3)} | {_text(row.difference)} |"


def _timeline(receipt: ReceiptView) -> Iterator[str]:
    yield from ("", "## Timeline", "")
    for entry in receipt.timeline:
        reason = f": {_text(entry.reason)}" if entry.reason else ""
        yield f"- {formats.timestamp(entry.at)} {_text(entry.who)} {_text(entry.what)}{reason}"
    if not receipt.timeline:
        yield "no entries"


def _figure(figure: Figure) -> str:
    return _text(f"{figure.value} {figure.detail}".strip() or "no data")


def _names(cells: list[str]) -> str:
    return ", ".join(map(_text, cells)) or "none"


def _text(words: str) -> str:
    """On one line, with all markup escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(words.split()))


def _ms(back: RollbackView, value: float | None) -> str:
    if value is None:
        return "not measured" if back.verified_at else "not yet known"
    return formats.milliseconds(value)
