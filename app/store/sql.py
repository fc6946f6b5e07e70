"""The store on SQLAlchemy: the same statements on SQLite (two files) and PostgreSQL.

`dialects` has what the two do not share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import cast

import msgspec
import structlog
from sqlalchemy import ColumnElement, RowMapping, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.data_folder import make_folder
from app.store import tables
from app.store.connections import Engines, nothing_to_check
from app.store.dialects import insert_new, notify, replace
from app.store.engines import GRACE_S, HURRY_S, postgres_engine, sqlite_engine
from app.store.feed import NAME, read_revision
from app.store.port import AUDIT_PAGE, RevisionTaken, SeriesChunk, StoredRecord, StoredRollback, Token
from app.store.resumes import ResumeTable
from rollout.names import PathName
from rollout.views import EVERYTHING, AuditEntry, AuditFilter, AuditPage

log = structlog.get_logger()

_JSON_COLUMNS = ("before", "after", "figures")
_TEXT_COLUMNS = ("who", "role", "source", "what", "reason")


class SqlStore(ResumeTable):
    """Implements `port.Store`; `Connections` explains the time limits."""

    # -- the record -----------------------------------------------------------------------------------------------

    async def load_record(self) -> StoredRecord | None:
        async with self.begin(self.control) as connection:
            query = select(tables.rollout.c.revision, tables.rollout.c.record).where(tables.rollout.c.name == NAME)
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else StoredRecord(row.revision, row.record)

    async def save_record(self, record: StoredRecord, expected: int | None, entry: AuditEntry) -> None:
        table = tables.rollout
        values = {"revision": record.revision, "record": record.text}
        async with self.begin(self.control) as connection:
            if expected is None:
                if not await insert_new(connection, table, {"name": NAME, **values}):
                    raise RevisionTaken("there is a record already")
            else:
                await _replace_record(connection, record, expected)
            await _insert_audit(connection, entry)
            await notify(connection, record.revision)

    async def rewrite_record(self, record: StoredRecord) -> None:
        async with self.begin(self.control) as connection:
            await _replace_record(connection, record, record.revision)

    # -- audit and rollbacks --------------------------------------------------------------------------------------

    async def append_audit(self, entry: AuditEntry) -> None:
        async with self.begin(self.control) as connection:
            await _insert_audit(connection, entry)

    async def load_audit(
        self, before: int | None = None, limit: int = 50, wanted: AuditFilter = EVERYTHING
    ) -> AuditPage:
        limit = max(1, min(limit, AUDIT_PAGE))
        query = select(tables.audit).where(*_conditions(wanted)).order_by(tables.audit.c.id.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(tables.audit.c.id < before)
        async with self.begin(self.lookups) as connection:
            rows = (await connection.execute(query)).mappings().all()
        items = [_read_audit(row) for row in rows[:limit]]
        return AuditPage(items=items, next=items[-1].id if len(rows) > limit else None)

    async def save_rollback(self, rollback: StoredRollback) -> None:
        async with self.begin(self.control) as connection:
            row = {"id": rollback.id, "at": rollback.at, "receipt": rollback.text}
            await replace(connection, tables.rollbacks, [row])

    async def load_rollback(self, id: str | None = None) -> StoredRollback | None:
        table = tables.rollbacks
        query = select(table).order_by(table.c.at.desc()).limit(1)
        if id is not None:
            query = query.where(table.c.id == id)
        async with self.begin(self.control) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else StoredRollback(row.id, row.at, row.receipt)

    # -- pins and tokens ------------------------------------------------------------------------------------------

    async def load_pins(self) -> Mapping[str, PathName]:
        async with self.begin(self.control) as connection:
            rows = (await connection.execute(select(tables.pins))).all()
        return {row.user_id: row.path for row in rows}

    async def save_pin(self, user_id: str, path: PathName | None, entry: AuditEntry) -> None:
        async with self.begin(self.control) as connection:
            if path is None:
                await connection.execute(delete(tables.pins).where(tables.pins.c.user_id == user_id))
            else:
                await replace(connection, tables.pins, [{"user_id": user_id, "path": path}])
            await _insert_audit(connection, entry)
            await notify(connection, await read_revision(connection))

    async def save_token(self, token: Token) -> None:
        async with self.begin(self.lookups) as connection:
            await connection.execute(insert(tables.tokens).values(**dataclasses.asdict(token)))

    async def load_tokens(self) -> Sequence[Token]:
        async with self.begin(self.lookups) as connection:
            query = select(tables.tokens).where(tables.tokens.c.kind != "code")
            rows = (await connection.execute(query)).mappings().all()
        return [Token(**row) for row in rows]

    async def find_token(self, digest: str) -> Token | None:
        async with self.begin(self.lookups) as connection:
            query = select(tables.tokens).where(tables.tokens.c.digest == digest)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Token(**row)

    async def revoke_token(self, digest: str, now: float) -> bool:
        table = tables.tokens
        async with self.begin(self.lookups) as connection:
            revoke = update(table).where(table.c.digest == digest, table.c.revoked_at.is_(None)).values(revoked_at=now)
            return (await connection.execute(revoke)).rowcount == 1

    # -- time series ----------------------------------------------------------------------------------------------

    async def save_series(self, chunks: Sequence[SeriesChunk], older_than: Mapping[int, int]) -> None:
        table = tables.series
        async with self.begin(self.sessions) as connection:
            if chunks:
                await replace(connection, table, [dataclasses.asdict(chunk) for chunk in chunks])
            # Only these cells' own: by their key they are found without reading those of all others.
            cells = {chunk.cell for chunk in chunks}
            for step_s, before in older_than.items():
                over = table.c.cell.in_(cells), table.c.step_s == step_s, table.c.at < before
                await connection.execute(delete(table).where(*over))

    async def load_series(self, cell: str) -> Sequence[SeriesChunk]:
        query = select(tables.series).where(tables.series.c.cell == cell).order_by(tables.series.c.at)
        async with self.begin(self.sessions) as connection:
            rows = (await connection.execute(query)).all()
        return [SeriesChunk(row.cell, row.step_s, row.at, row.data) for row in rows]


def sqlite_store(
    folder: FilePath, limit_s: float = 5.0, check: Callable[[], Awaitable[None]] = nothing_to_check
) -> SqlStore:
    """The embedded store: `control.db` and `sessions.db` in `folder`, which is made if it does not exist.

    A saved control record survives a power cut; a resume document need not. `check`: see `Connections`.
    """
    make_folder(folder)
    control, sessions = folder / "control.db", folder / "sessions.db"
    engines = Engines(
        control=sqlite_engine(control, "FULL", limit_s, size=3),
        lookups=sqlite_engine(control, "FULL", limit_s, size=2),
        sessions=sqlite_engine(sessions, "NORMAL", limit_s, size=2),
        fleet=sqlite_engine(sessions, "NORMAL", limit_s, size=1),
    )
    return SqlStore(engines, limit_s, check=check)


def postgres_store(url: str, limit_s: float = 3.0) -> SqlStore:
    """The store of a fleet, in one database, as durable as `sqlite_store`; `url` is read as libpq reads it.

    Raises `SettingError` for a URL that cannot be read.
    """
    statement_s = limit_s - GRACE_S
    engines = Engines(
        control=postgres_engine(url, statement_s, size=3, synchronous=True),
        lookups=postgres_engine(url, statement_s, size=2, synchronous=True),
        sessions=postgres_engine(url, statement_s, size=2, synchronous=False),
        fleet=postgres_engine(url, statement_s, size=1, synchronous=False),
    )
    return SqlStore(engines, statement_s, HURRY_S)


async def _replace_record(connection: AsyncConnection, record: StoredRecord, expected: int) -> None:
    table = tables.rollout
    same = update(table).where(table.c.name == NAME, table.c.revision == expected)
    replaced = await connection.execute(same.values(revision=record.revision, record=record.text))
    if replaced.rowcount != 1:
        raise RevisionTaken(f"revision {expected} is no longer the stored one")


async def _insert_audit(connection: AsyncConnection, entry: AuditEntry) -> None:
    values = msgspec.structs.asdict(entry)
    del values["id"]
    for column in _JSON_COLUMNS:
        values[column] = msgspec.json.encode(values[column]).decode()
    for column in _TEXT_COLUMNS:
        values[column] = _storable(values[column])
    await connection.execute(insert(tables.audit).values(**values))


def _storable(text: str) -> str:
    """Text that PostgreSQL takes: it has no null character, and what a person typed must not stop a rollback."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _conditions(wanted: AuditFilter) -> Iterator[ColumnElement[bool]]:
    columns = tables.audit.c
    everywhere = (columns.who, columns.what, columns.reason, columns.source)
    for text, places in ((wanted.who, everywhere[:1]), (wanted.what, everywhere[1:2]), (wanted.text, everywhere)):
        if text:
            yield or_(*(place.icontains(_storable(text), autoescape=True) for place in places))
    if wanted.since is not None:
        yield columns.at >= wanted.since
    if wanted.until is not None:
        yield columns.at < wanted.until


def _read_audit(row: RowMapping) -> AuditEntry:
    values: dict[str, object] = {str(name): value for name, value in row.items()}
    for column in _JSON_COLUMNS:
        values[column] = _members(cast("str", values[column]), row["id"], column)
    return msgspec.convert(values, AuditEntry)


def _members(text: str, id: int, column: str) -> dict[str, object]:
    """What stands in a column; of one that cannot be read nothing, but the entry is shown: who, what, when and why."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        log.warning("a part of an audit entry cannot be read", id=id, column=column, error=str(error))
        return {}
