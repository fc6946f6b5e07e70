"""Where SQLite and PostgreSQL differ: the clock, "insert or replace", and notifying those who listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Double, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

POSTGRESQL = "postgresql"
CHANNEL = "crossfade_changes"
"""Channel of PostgreSQL's NOTIFY; every database has channels of its own."""


class _DatabaseNow(FunctionElement[float]):
    type = Double()
    inherit_cache = True


@compiles(_DatabaseNow, "sqlite")
def _sqlite_now(_element: _DatabaseNow, _compiler: SQLCompiler, **_: object) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_DatabaseNow, POSTGRESQL)
def _postgres_now(_element: _DatabaseNow, _compiler: SQLCompiler, **_: object) -> str:
    # Not now(), the start of the transaction: a statement may have waited for a row since then.
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def database_now() -> ColumnElement[float]:
    """Unix seconds by the database's clock, the only one that all cells share."""
    return _DatabaseNow()


async def replace(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert at least one row, replacing rows with the same primary key."""
    make = postgresql.insert if connection.dialect.name == POSTGRESQL else sqlite.insert
    statement = make(table)
    keys = [column.name for column in table.primary_key]
    new = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=new), rows)


async def insert_new(connection: AsyncConnection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless its primary key is taken; returns whether it was inserted."""
    make = postgresql.insert if connection.dialect.name == POSTGRESQL else sqlite.insert
    return (await connection.execute(make(table).values(**row).on_conflict_do_nothing())).rowcount == 1


async def notify(connection: AsyncConnection, revision: int) -> None:
    """Notify PostgreSQL's listeners when this transaction commits; on SQLite the change counter does that."""
    if connection.dialect.name == POSTGRESQL:
        await connection.execute(select(func.pg_notify(CHANNEL, str(revision))))
