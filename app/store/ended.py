"""Deletes what has ended: tokens, receipts of rollbacks beyond the newest ones, and figures of cells that are gone.

Each call is one short transaction of a few rows, because on SQLite nobody else can write meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import and_, delete, func, or_, select, tuple_, update

from app.store import tables
from app.store.feed import Feed
from app.store.port import AuditSize, TokenKind

SAMPLE = 1000
"""The newest entries of the audit, from which the size of all is reckoned."""


class EndedRows(Feed):
    """Implements what `port.Store` says of rows that have ended."""

    async def delete_tokens(self, kinds: Collection[TokenKind], ended_before: float, most: int) -> int:
        table = tables.tokens
        ended = or_(table.c.revoked_at < ended_before, table.c.expires_at < ended_before)
        some = select(table.c.digest).where(table.c.kind.in_(kinds), ended).limit(most)
        async with self.begin(self.lookups) as connection:
            return (await connection.execute(delete(table).where(table.c.digest.in_(some)))).rowcount

    async def renew_token(self, digest: str, expires_at: float) -> bool:
        table = tables.tokens
        valid = update(table).where(table.c.digest == digest, table.c.revoked_at.is_(None))
        async with self.begin(self.lookups) as connection:
            return (await connection.execute(valid.values(expires_at=expires_at))).rowcount == 1

    async def delete_rollbacks(self, keep: int, most: int) -> int:
        table = tables.rollbacks
        # The oldest that is kept; NULL, which nothing is older than, while there are fewer.
        oldest = select(table.c.at).order_by(table.c.at.desc()).offset(keep - 1).limit(1).scalar_subquery()
        some = select(table.c.id).where(table.c.at < oldest).order_by(table.c.at).limit(most)
        async with self.begin(self.lookups) as connection:
            return (await connection.execute(delete(table).where(table.c.id.in_(some)))).rowcount

    async def delete_series(self, older_than: Mapping[int, int], most: int) -> int:
        table = tables.series
        over = [and_(table.c.step_s == step_s, table.c.at < before) for step_s, before in older_than.items()]
        other = and_(table.c.step_s.not_in(older_than), table.c.at < min(older_than.values()))
        key = tuple_(table.c.cell, table.c.step_s, table.c.at)
        some = select(table.c.cell, table.c.step_s, table.c.at).where(or_(*over, other)).limit(most)
        async with self.begin(self.sessions) as connection:
            return (await connection.execute(delete(table).where(key.in_(some)))).rowcount

    async def measure_audit(self) -> AuditSize:
        table = tables.audit
        texts = (table.c.who, table.c.source, table.c.what, table.c.reason, table.c.before, table.c.after)
        length = sum((func.length(column) for column in texts), func.length(table.c.figures))
        newest = select(length.label("length")).order_by(table.c.id.desc()).limit(SAMPLE).subquery()
        query = select(
            select(func.max(table.c.id)).scalar_subquery(), select(func.avg(newest.c.length)).scalar_subquery()
        )
        async with self.begin(self.lookups) as connection:
            entries, each = (await connection.execute(query)).one()
        return AuditSize(entries or 0, int((entries or 0) * (each or 0)))
