"""What somebody looks for in the audit, as it stands in the address of a page, and what it means.

It must not know how the audit is searched.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from msgspec import Struct, structs

from rollout.views import AuditFilter


class Search(Struct, frozen=True, kw_only=True):
    """The fields of the form as they were typed; empty: any."""

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
        """Raises ValueError, in words for a person, when a day is none."""
        since, until = _midnight(self.since), _midnight(self.until)
        return AuditFilter(
            who=self.who,
            what=self.what,
            text=self.q,
            since=None if since is None else since.timestamp(),
            until=None if until is None else (until + timedelta(days=1)).timestamp(),
        )

    def query(self, before: int | None = None) -> str:
        """The part of an address that says it, with its question mark; empty when there is nothing to say."""
        said = {name: value for name, value in structs.asdict(self).items() if value}
        if before is not None:
            said["before"] = str(before)
        return f"?{urlencode(said)}" if said else ""


NOTHING = Search()


def search_of(field: Callable[[str], str]) -> Search:
    """What a form's fields say."""
    return Search(**{name: field(name) for name in Search.__struct_fields__})


def _midnight(day: str) -> datetime | None:
    if not day:
        return None
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{day!r} is no day; a day is written like 2026-01-31") from None
