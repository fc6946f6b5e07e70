"""Transactions on the store's two databases, each within a time limit, after the tables were brought up to date."""

from __future__ import annotations

import sqlite3
from asyncio import Lock, timeout
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.errors import StoreUnavailable
from app.store import migrations, tables


class Connections:
    """`limit_s` bounds every transaction: a store that hangs counts as down.

    `hurry_s` is the limit after a transaction that hung, until one succeeds, so that the next callers, a rollback among
    them, do not wait as long each time.
    """

    def __init__(
        self, control: AsyncEngine, sessions: AsyncEngine, limit_s: float = 5.0, hurry_s: float | None = None
    ) -> None:
        self.control = control
        self.sessions = sessions
        self._limit_s = limit_s
        self._hurry_s = limit_s if hurry_s is None else hurry_s
        self._hung = False
        self._open = False
        self.groups: dict[AsyncEngine, migrations.Group] = {control: "control", sessions: "sessions"}
        self._ready: set[AsyncEngine] = set()
        self._preparing = Lock()

    async def open(self) -> None:
        self._open = True
        for engine in (self.control, self.sessions):
            async with self.begin(engine):
                pass

    async def close(self) -> None:
        self._open = False
        await self.control.dispose()
        await self.sessions.dispose()

    @asynccontextmanager
    async def begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A transaction. Raises `StoreUnavailable`."""
        with self._translated():
            async with self._limited(), engine.begin() as connection:
                # Not only in `open`: a store that was down at the start is used as soon as it is back.
                if engine not in self._ready:
                    await self._prepare(engine, connection)
                yield connection

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        try:
            async with timeout(self._hurry_s if self._hung else self._limit_s):
                yield
            self._hung = False
        except (PoolTimeout, TimeoutError):
            self._hung = True
            raise

    async def _prepare(self, engine: AsyncEngine, connection: AsyncConnection) -> None:
        async with self._preparing:  # Alembic has one context per process
            group = self.groups[engine]
            await connection.run_sync(migrations.upgrade, group, tables.METADATA[group])
        self._ready.add(engine)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if not self._open:
            raise StoreUnavailable("the store is not open")
        try:
            yield
        except (DBAPIError, PoolTimeout, TimeoutError, OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"the store cannot be reached: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__
