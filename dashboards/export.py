"""The audit as a file, for the pages and the API: CSV for spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Literal

import msgspec

from rollout import formats
from rollout.views import AuditEntry, AuditPage

Kind = Literal["csv", "jsonl"]
MEDIA_TYPES: Mapping[Kind, str] = {"csv": "text/csv", "jsonl": "application/jsonl"}
PIECE = 200
"""Entries written to a file at a time."""
# What OWASP names ("CSV Injection"): a formula's signs, narrow and wide, and the characters that end a cell.
_RISKY = re.compile("[\t\r\n]|[\\s\u200b-\u200f\u2060\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_CSV = ("id", "at", "who", "role", "source", "what", "reason", "revision")
_PLACES = ("before", "after")
_FIGURES = tuple((path, name) for path in ("v2", "v3") for name in ("sessions", "users", "messages", "errors"))


async def export(
    kind: Kind, before: int | None, page: Callable[[int | None], Awaitable[AuditPage]]
) -> AsyncIterator[str]:
    """Everything that `page` returns from `before` on, in pieces, newest first.

    Raises what the first page raises, before there is any piece; what a later page raises cuts the file off.
    """
    first = await page(before)
    return _pieces(kind, first, page)


async def _pieces(
    kind: Kind, audit: AuditPage, page: Callable[[int | None], Awaitable[AuditPage]]
) -> AsyncIterator[str]:
    write = as_csv if kind == "csv" else as_lines
    yield head_of(kind)
    while True:
        yield write(audit.items)
        if audit.next is None:
            return
        audit = await page(audit.next)


def head_of(kind: Kind) -> str:
    """What comes before the first entry."""
    if kind == "jsonl":
        return ""
    names = (*_CSV, *(f"percentage_{place}" for place in _PLACES), *(f"{path}_{name}" for path, name in _FIGURES))
    return ",".join(names) + "\r\n"


def as_csv(entries: Sequence[AuditEntry]) -> str:
    """One line for each entry; times are UTC."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for entry in entries:
        row = [formats.iso(entry.at) if name == "at" else getattr(entry, name) for name in _CSV]
        row += [getattr(entry, place).get("percentage") for place in _PLACES]
        row += [_figure(entry.figures.get(path), name) for path, name in _FIGURES]
        writer.writerow([_harmless(value) for value in row])
    return text.getvalue()


def _figure(figures: object, name: str) -> object:
    """One figure of one path at that moment; None where it was not recorded."""
    return figures.get(name) if isinstance(figures, Mapping) else None


def as_lines(entries: Sequence[AuditEntry]) -> str:
    """One JSON document for each entry, figures and all."""
    return "".join(msgspec.json.encode(entry).decode() + "\n" for entry in entries)


def _harmless(value: object) -> object:
    """Quoted where a spreadsheet would take it for a formula and run it, also behind blanks and what is not seen."""
    return f"'{value}" if isinstance(value, str) and _RISKY.match(value) else value
