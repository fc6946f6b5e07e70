"""Makes connections: SQLite's files with their durability, PostgreSQL's pools with their time limits."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.errors import SettingError

GRACE_S = 0.5
"""Most seconds that giving up a hanging PostgreSQL connection takes after the time-out."""
SET_ALL = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS settings (name, value)"
JOURNAL_BYTES = 16 * 1024 * 1024
"""A longer write-ahead log, which a long reader may cause, is cut to this by the next that begins it anew."""
HURRY_S = 0.5
"""Time limit of calls to PostgreSQL after one that hung, until one is answered."""


def sqlite_engine(file: Path, synchronous: str, limit_s: float, *, size: int) -> AsyncEngine:
    """A pool of connections to one database file, which only this account may read, and those beside it too.

    `synchronous`: FULL survives a power cut, NORMAL a crash of the process.
    """
    with suppress(OSError):  # what cannot be opened is said when it is used
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives -wal and -shm the same mode
    # Never made anew by a later connection: a folder that was emptied meanwhile must not look like a new store.
    place = URL.create(
        "sqlite+aiosqlite", database=f"file:{quote(str(file.absolute()))}", query={"mode": "rw", "uri": "true"}
    )
    engine = create_async_engine(place, pool_size=size, max_overflow=0)
    # SQLite waits in a thread that cannot be cancelled, so its own limit ends before ours.
    patience_ms = int(limit_s * 800)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {patience_ms}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
        cursor.close()

    return engine


def postgres_engine(url: str, limit_s: float, *, size: int, synchronous: bool) -> AsyncEngine:
    """A pool of connections to one database. `url` is read as libpq reads it: `sslmode`, several hosts and so on.

    `synchronous`: a commit waits until it would survive a power cut. Raises `SettingError` for a URL it cannot read.
    """
    check_url(url)
    import asyncpg  # takes a tenth of a second, which a cell on SQLite need not spend

    limit_ms = str(int(limit_s * 1000))
    settings = {
        "application_name": "crossfade",
        # Releases the record's lock if a cell was stopped in the middle of a change, so that the others can go on.
        "idle_in_transaction_session_timeout": limit_ms,
        "statement_timeout": limit_ms,
        "synchronous_commit": "on" if synchronous else "off",
    }
    connect: Any = partial(_connect, partial(asyncpg.connect, url, timeout=limit_s), settings, limit_s)
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=size,
        max_overflow=0,
        pool_timeout=limit_s,
        pool_pre_ping=True,  # so that the first call after a restart of the server succeeds
        pool_use_lifo=True,
    )

    @event.listens_for(engine.sync_engine, "invalidate")
    def abort(connection: Any, _record: object, _error: object) -> None:
        # Otherwise the driver ends the connection politely and waits two seconds for a server that does not answer.
        connection.driver_connection.terminate()

    return engine


async def _connect(connect: Callable[[], Awaitable[Any]], settings: Mapping[str, str], limit_s: float) -> Any:
    """A connection with these settings, set by a statement: a pooler such as PgBouncer refuses them in the start-up."""
    async with asyncio.timeout(limit_s):
        connection = await connect()
        try:
            await connection.execute(SET_ALL, list(settings), list(settings.values()))
        except BaseException:
            connection.terminate()
            raise
        return connection


def check_url(url: str) -> None:
    """Raises `SettingError` for a URL that cannot be read: a slip stops the start, and is not taken for an outage."""
    try:
        parts = urlsplit(url)
        for address in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{address}").port
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        # The wrong part is not repeated, because it may be a piece of the password.
        raise SettingError(
            "CROSSFADE_STORE='postgresql://…': this URL cannot be read; allowed: "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, special characters as %XX"
        ) from None
