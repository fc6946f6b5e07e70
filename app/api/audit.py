"""Searching the audit, for the API and for the pages alike: entries that match, and where to go on.

Knows entries and their order only; must not know who asks.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from app.control.keeper import Keeper
from dashboards.views import AuditEntry, AuditPage

READ = 200
SEARCHED = 4000
"""Entries that one search looks through; `next` then offers to go on from there."""


class Filter(Struct, frozen=True):
    """What an entry has to be; empty or None: anything. Text is looked for inside, whatever its case."""

    who: str = ""
    what: str = ""
    since: float | None = None
    """Unix seconds, this one included."""
    until: float | None = None
    """Unix seconds, this one not."""

    def __call__(self, entry: AuditEntry) -> bool:
        return (
            self.who.casefold() in entry.who.casefold()
            and self.what.casefold() in entry.what.casefold()
            and (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
        )


EVERYTHING = Filter()


async def search(keeper: Keeper, before: int | None, limit: int, matches: Callable[[AuditEntry], bool]) -> AuditPage:
    """Up to `limit` entries that match, the newest first. Raises StoreUnavailable.

    It does not stop at the first entry that is too old: those of an outage are written late, so ids and times differ.
    """
    found: list[AuditEntry] = []
    for _ in range(SEARCHED // READ):
        page = await keeper.events(before, READ)
        for entry in page.items:
            if matches(entry):
                found.append(entry)
                if len(found) == limit:
                    return AuditPage(items=found, next=entry.id if entry.id > 1 else None)
        before = page.next
        if before is None:
            break
    return AuditPage(items=found, next=before)
