"""What clients come back to, as rows: which cell has each session, and how another cell gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, case, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.store import tables
from app.store.dialects import POSTGRESQL
from app.store.fleet import FleetStore
from app.store.port import ClaimedResume, StoredResume

_table = tables.resumes
_columns = (_table.c.digest, _table.c.document, _table.c.outcomes, _table.c.expires_at, _table.c.holder)


class ResumeTable(FleetStore):
    """The part of a store that keeps sessions for clients that come back; see `app.store.port.Store`."""

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None:
        if not resumes:
            return
        # Sorted, so that two cells that save the same rows cannot deadlock.
        # Not `asdict`, which copies deeply: every session that was used in the last second is in this list.
        rows = [
            {
                "digest": resume.digest,
                "document": resume.document,
                "outcomes": resume.outcomes,
                "expires_at": resume.expires_at,
                "holder": resume.holder,
            }
            for _, resume in sorted({each.digest: each for each in resumes}.items())
        ]
        async with self.begin(self.sessions) as connection:
            make = postgresql.insert if connection.dialect.name == POSTGRESQL else sqlite.insert
            statement = make(_table)
            new = {name: statement.excluded[name] for name in ("document", "outcomes", "expires_at")}
            mine = _table.c.holder == statement.excluded.holder
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["digest"], set_=new, where=mine), rows
            )

    async def claim_resume(self, digest: str, holder: str, now: float) -> ClaimedResume | None:
        # Who has the session stays `previous` until it gives it up, however many claim it meanwhile.
        has_it = case(
            (_table.c.previous.is_not(None), _table.c.previous),
            (_table.c.holder.in_(("", holder)), None),
            else_=_table.c.holder,
        )
        claim = (
            update(_table)
            .where(_table.c.digest == digest, _table.c.expires_at > now)
            .values(previous=has_it, holder=holder)
            .returning(*_columns, _table.c.previous)
        )
        async with self.begin(self.sessions) as connection:
            row = (await connection.execute(claim)).one_or_none()
        return None if row is None else _claimed(row)

    async def look_at_resume(self, digest: str, holder: str) -> ClaimedResume | None:
        query = select(*_columns, _table.c.previous).where(_table.c.digest == digest, _table.c.holder == holder)
        async with self.begin(self.sessions) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _claimed(row)

    async def wanted_resumes(self, holder: str) -> Sequence[str]:
        query = select(_table.c.digest).where(_table.c.previous == holder)
        async with self.begin(self.sessions) as connection:
            return list((await connection.execute(query)).scalars())

    async def give_up_resume(self, digest: str, holder: str, last: StoredResume | None) -> None:
        values: dict[str, object] = {"previous": None}
        if last is not None:
            values |= {"document": last.document, "outcomes": last.outcomes, "expires_at": last.expires_at}
        wanted = update(_table).where(_table.c.digest == digest, _table.c.previous == holder)
        async with self.begin(self.sessions) as connection:
            await connection.execute(wanted.values(values))

    async def release_resumes(self, holder: str) -> None:
        async with self.begin(self.sessions) as connection:
            await connection.execute(update(_table).where(_table.c.holder == holder).values(holder=""))
            await connection.execute(update(_table).where(_table.c.previous == holder).values(previous=None))

    async def spend_resumes(self, digests: Sequence[str], holder: str) -> None:
        if not digests:
            return
        async with self.begin(self.sessions) as connection:
            for begin in range(0, len(digests), 500):  # SQLite takes a bounded number of values in one statement
                some = _table.c.digest.in_(digests[begin : begin + 500])
                mine = or_(_table.c.holder == holder, _table.c.previous == holder)
                await connection.execute(delete(_table).where(some, mine))

    async def delete_resumes(self, now: float, most: int) -> int:
        expired = select(_table.c.digest).where(_table.c.expires_at <= now).limit(most)
        async with self.begin(self.sessions) as connection:
            return (await connection.execute(delete(_table).where(_table.c.digest.in_(expired)))).rowcount


def _claimed(row: Row[Any, Any, Any, Any, Any, Any]) -> ClaimedResume:
    resume = StoredResume(row.digest, row.document, row.outcomes, row.expires_at, row.holder)
    return ClaimedResume(resume, row.previous or "")
