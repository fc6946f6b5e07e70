"""How connections are made: SQLite's files with their promises, PostgreSQL's pools with their limits.

Knows drivers; must not know a table.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.errors import SettingError

GRACE_S = 0.5
"""Giving up a PostgreSQL connection that hangs takes at most so long after the time-out."""
HURRY_S = 0.5
"""After a call that hung, PostgreSQL gets no more time than this, until it has answered one."""


def sqlite_engine(file: Path, synchronous: str, limit_s: float) -> AsyncEngine:
    """One database file. `synchronous`: FULL survives a power cut, NORMAL a crash of the process."""
    # One connection stays with whoever listens for changes.
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}", pool_size=3, max_overflow=0)
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


def postgres_engine(url: str, limit_s: float, *, size: int, synchronous: bool) -> AsyncEngine:
    """A pool of one database; `url` is libpq's, so `sslmode`, several hosts and the like mean what they mean there.

    `synchronous`: whether a commit waits until it would survive a power cut. Raises `SettingError`.
    """
    _check(url)
    import asyncpg  # a tenth of a second that a cell on SQLite need not spend

    limit_ms = str(int(limit_s * 1000))
    settings = {
        "application_name": "crossfade",
        # A cell that was stopped in the middle of a change lets go of the record, so that the others can go on.
        "idle_in_transaction_session_timeout": limit_ms,
        "statement_timeout": limit_ms,
        "synchronous_commit": "on" if synchronous else "off",
    }
    connect: Any = partial(asyncpg.connect, url, timeout=limit_s, server_settings=settings)
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=size,
        max_overflow=0,
        pool_timeout=limit_s,
        pool_pre_ping=True,  # so that the first call after a restart of the server is answered
        pool_use_lifo=True,
    )

    @event.listens_for(engine.sync_engine, "invalidate")
    def abort(connection: Any, _record: object, _error: object) -> None:
        # Else the driver says goodbye first and waits two seconds for a server that does not answer.
        connection.driver_connection.terminate()

    return engine


def _check(url: str) -> None:
    """So that a slip stops the start, and is not taken for a database that is down for now."""
    try:
        parts = urlsplit(url)
        for address in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{address}").port
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        # What is wrong with it is not repeated, because it may be a piece of the password.
        raise SettingError(
            "CROSSFADE_STORE is a postgresql:// URL that cannot be read; allowed: "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, special characters as %XX"
        ) from None
