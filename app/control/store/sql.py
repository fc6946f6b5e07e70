"""The store on SQLAlchemy: the same statements on SQLite (two files) and PostgreSQL.

Nothing but SQL that both speak; it must not know what a record or a document means.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from asyncio import timeout
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import cast

import msgspec
from sqlalchemy import RowMapping, bindparam, delete, event, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.control.store import tables
from app.control.store.port import Resume, RevisionTaken, SeriesChunk, StoredRecord, StoredRollback, Token
from app.errors import StoreUnavailable
from dashboards.views import AuditEntry, AuditPage
from rollout.names import Path

_NAME = "rollout"
_JSON_COLUMNS = ("before", "after", "figures")
PAGE = 200
"""Most audit entries in one answer."""


class SqlStore:
    """A `Store`. `limit_s` bounds every call: a store that hangs is a store that is down."""

    def __init__(self, control: AsyncEngine, sessions: AsyncEngine, limit_s: float = 5.0) -> None:
        self._control = control
        self._sessions = sessions
        self._limit_s = limit_s
        self._open = False
        self._made = False

    async def open(self) -> None:
        self._open = True
        async with self._begin(self._control):
            pass

    async def close(self) -> None:
        self._open = False
        await self._control.dispose()
        await self._sessions.dispose()

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        if not self._open:
            raise StoreUnavailable("the store is not open")
        try:
            async with timeout(self._limit_s):
                await self._make_tables()
                async with engine.begin() as connection:
                    yield connection
        except (DBAPIError, PoolTimeout, TimeoutError, OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"the store cannot be reached: {_one_line(error)}") from error

    async def _make_tables(self) -> None:
        """Not in `open` alone: a store that was down at the start is used as soon as it is back."""
        if self._made:
            return
        for engine, metadata in ((self._control, tables.control), (self._sessions, tables.sessions)):
            async with engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
        self._made = True

    # -- the record -----------------------------------------------------------------------------------------------

    async def load_record(self) -> StoredRecord | None:
        async with self._begin(self._control) as connection:
            query = select(tables.rollout.c.revision, tables.rollout.c.record).where(tables.rollout.c.name == _NAME)
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else StoredRecord(row.revision, row.record)

    async def save_record(
        self, record: StoredRecord, expected: int | None, entry: AuditEntry, rollback: StoredRollback | None = None
    ) -> None:
        table = tables.rollout
        values = {"revision": record.revision, "record": record.text}
        async with self._begin(self._control) as connection:
            if expected is None:
                there = select(table.c.revision).where(table.c.name == _NAME).with_for_update()
                if (await connection.execute(there)).first() is not None:
                    raise RevisionTaken("a record is there already")
                await connection.execute(insert(table).values(name=_NAME, **values))
            else:
                same = update(table).where(table.c.name == _NAME, table.c.revision == expected).values(**values)
                if (await connection.execute(same)).rowcount != 1:
                    raise RevisionTaken(f"revision {expected} is no longer the stored one")
            await _insert_audit(connection, entry)
            if rollback is not None:
                await _replace_rollback(connection, rollback)

    # -- audit and rollbacks --------------------------------------------------------------------------------------

    async def append_audit(self, entry: AuditEntry) -> None:
        async with self._begin(self._control) as connection:
            await _insert_audit(connection, entry)

    async def load_audit(self, before: int | None = None, limit: int = 50) -> AuditPage:
        limit = max(1, min(limit, PAGE))
        query = select(tables.audit).order_by(tables.audit.c.id.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(tables.audit.c.id < before)
        async with self._begin(self._control) as connection:
            rows = (await connection.execute(query)).mappings().all()
        items = [_read_audit(row) for row in rows[:limit]]
        return AuditPage(items=items, next=items[-1].id if len(rows) > limit else None)

    async def save_rollback(self, rollback: StoredRollback) -> None:
        async with self._begin(self._control) as connection:
            await _replace_rollback(connection, rollback)

    async def load_rollback(self, id: str | None = None) -> StoredRollback | None:
        table = tables.rollbacks
        query = select(table).order_by(table.c.at.desc()).limit(1)
        if id is not None:
            query = query.where(table.c.id == id)
        async with self._begin(self._control) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else StoredRollback(row.id, row.at, row.receipt)

    # -- pins and tokens ------------------------------------------------------------------------------------------

    async def load_pins(self) -> Mapping[str, Path]:
        async with self._begin(self._control) as connection:
            rows = (await connection.execute(select(tables.pins))).all()
        return {row.user_id: row.path for row in rows}

    async def save_pin(self, user_id: str, path: Path | None, entry: AuditEntry) -> None:
        async with self._begin(self._control) as connection:
            await connection.execute(delete(tables.pins).where(tables.pins.c.user_id == user_id))
            if path is not None:
                await connection.execute(insert(tables.pins).values(user_id=user_id, path=path))
            await _insert_audit(connection, entry)

    async def save_token(self, token: Token) -> None:
        async with self._begin(self._control) as connection:
            await connection.execute(insert(tables.tokens).values(**dataclasses.asdict(token)))

    async def load_tokens(self) -> Sequence[Token]:
        async with self._begin(self._control) as connection:
            query = select(tables.tokens).where(tables.tokens.c.kind == "bearer")
            rows = (await connection.execute(query)).mappings().all()
        return [Token(**row) for row in rows]

    async def find_token(self, digest: str) -> Token | None:
        async with self._begin(self._control) as connection:
            query = select(tables.tokens).where(tables.tokens.c.digest == digest)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Token(**row)

    async def revoke_token(self, digest: str, now: float) -> bool:
        table = tables.tokens
        async with self._begin(self._control) as connection:
            revoke = update(table).where(table.c.digest == digest, table.c.revoked_at.is_(None)).values(revoked_at=now)
            return (await connection.execute(revoke)).rowcount == 1

    # -- resume documents -----------------------------------------------------------------------------------------

    async def save_resumes(self, resumes: Sequence[Resume]) -> None:
        if not resumes:
            return
        rows = [dataclasses.asdict(resume) for resume in {resume.digest: resume for resume in resumes}.values()]
        # Deleted and inserted: the one form of "replace" that both databases share.
        replaced = delete(tables.resumes).where(tables.resumes.c.digest == bindparam("digest"))
        async with self._begin(self._sessions) as connection:
            await connection.execute(replaced, rows)
            await connection.execute(insert(tables.resumes), rows)

    async def take_resume(self, digest: str, now: float) -> Resume | None:
        table = tables.resumes
        async with self._begin(self._sessions) as connection:
            row = (
                await connection.execute(delete(table).where(table.c.digest == digest).returning(table))
            ).one_or_none()
        if row is None or row.expires_at <= now:
            return None
        return Resume(row.digest, row.document, row.outcomes, row.expires_at)

    async def delete_resumes(self, now: float) -> int:
        async with self._begin(self._sessions) as connection:
            gone = await connection.execute(delete(tables.resumes).where(tables.resumes.c.expires_at <= now))
            return gone.rowcount

    # -- time series ----------------------------------------------------------------------------------------------

    async def save_series(self, chunks: Sequence[SeriesChunk], older_than: Mapping[int, int]) -> None:
        table = tables.series
        # Bound under other names than the columns', which the insert below uses.
        same = (table.c.cell == bindparam("of"), table.c.step_s == bindparam("step"), table.c.at == bindparam("begin"))
        async with self._begin(self._sessions) as connection:
            if chunks:
                keys = [{"of": chunk.cell, "step": chunk.step_s, "begin": chunk.at} for chunk in chunks]
                await connection.execute(delete(table).where(*same), keys)
                await connection.execute(insert(table), [dataclasses.asdict(chunk) for chunk in chunks])
            for step_s, before in older_than.items():
                await connection.execute(delete(table).where(table.c.step_s == step_s, table.c.at < before))

    async def load_series(self, cell: str) -> Sequence[SeriesChunk]:
        query = select(tables.series).where(tables.series.c.cell == cell).order_by(tables.series.c.at)
        async with self._begin(self._sessions) as connection:
            rows = (await connection.execute(query)).all()
        return [SeriesChunk(row.cell, row.step_s, row.at, row.data) for row in rows]


def sqlite_store(folder: FilePath, limit_s: float = 5.0) -> SqlStore:
    """The embedded store: `control.db` and `sessions.db` in `folder`, which is made when it is not there.

    A control record that was answered for survives a power cut; a resume document need not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return SqlStore(
        _sqlite_engine(folder / "control.db", "FULL", limit_s),
        _sqlite_engine(folder / "sessions.db", "NORMAL", limit_s),
        limit_s,
    )


def _sqlite_engine(file: FilePath, synchronous: str, limit_s: float) -> AsyncEngine:
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}", pool_size=2, max_overflow=0)
    # The wait happens in a thread that cannot be called off, so it ends before the limit does.
    patience_ms = int(limit_s * 800)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {patience_ms}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.close()

    return engine


async def _insert_audit(connection: AsyncConnection, entry: AuditEntry) -> None:
    values = msgspec.structs.asdict(entry)
    del values["id"]
    for column in _JSON_COLUMNS:
        values[column] = msgspec.json.encode(values[column]).decode()
    await connection.execute(insert(tables.audit).values(**values))


def _read_audit(row: RowMapping) -> AuditEntry:
    values: dict[str, object] = {str(name): value for name, value in row.items()}
    for column in _JSON_COLUMNS:
        values[column] = msgspec.json.decode(cast("str", values[column]))
    return msgspec.convert(values, AuditEntry)


async def _replace_rollback(connection: AsyncConnection, rollback: StoredRollback) -> None:
    await connection.execute(delete(tables.rollbacks).where(tables.rollbacks.c.id == rollback.id))
    await connection.execute(insert(tables.rollbacks).values(id=rollback.id, at=rollback.at, receipt=rollback.text))


def _one_line(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__
