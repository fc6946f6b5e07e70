"""The audit as a file: CSV for spreadsheets, JSON lines for programs; for the pages, the API and the command alike.

Pure but for the pages of the audit that it asks for; it must not know of HTTP or of a store.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from dashboards import words
from dashboards.views import AuditEntry, AuditPage

EXPORTED = 10_000
"""Entries in one file at most, or a few more; the oldest are left out."""
_CSV = ("id", "at", "who", "role", "source", "what", "reason", "revision")


async def every(
    page: Callable[[int | None], Awaitable[AuditPage]], before: int | None = None, most: int = EXPORTED
) -> AuditPage:
    """The pages from `before` on as one; `next` says where to go on if there are more than `most` entries."""
    found: list[AuditEntry] = []
    while len(found) < most:
        audit = await page(before)
        found += audit.items
        before = audit.next
        if before is None:
            break
    return AuditPage(items=found, next=before)


def as_csv(entries: Sequence[AuditEntry]) -> str:
    """One line for each entry, under a line of names; times are UTC."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_CSV)
    for entry in entries:
        row = [words.iso(entry.at) if name == "at" else getattr(entry, name) for name in _CSV]
        writer.writerow([_harmless(value) for value in row])
    return text.getvalue()


def as_lines(entries: Sequence[AuditEntry]) -> str:
    """One JSON document for each entry, figures and all."""
    return "".join(msgspec.json.encode(entry).decode() + "\n" for entry in entries)


def _harmless(value: object) -> object:
    """A spreadsheet runs what begins like a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
