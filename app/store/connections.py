"""Transactions on the store's databases, each within a time limit, after the tables were brought up to date.

There are several pools of connections, so that nothing that clients or pages cause delays the control record.
"""

from __future__ import annotations

import sqlite3
from asyncio import Lock, timeout
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.data_folder import FolderLost
from app.errors import StoreUnavailable
from app.store import migrations, tables


async def nothing_to_check() -> None:
    """The store of another machine, or of a test, is where it is."""


@dataclass(frozen=True, slots=True)
class Engines:
    """A pool each for those who must not wait for each other's connections."""

    control: AsyncEngine
    """The control plane's own: the record and who listens for it, its audit, receipts and pins."""
    lookups: AsyncEngine
    """What requests ask the same database: tokens, which any stranger's request may look up, and pages of the audit."""
    sessions: AsyncEngine
    """What clients cause: resume documents, and the series of the charts."""
    fleet: AsyncEngine
    """Leases and the register of the cells, in the database of the sessions."""


class Connections:
    """`limit_s` bounds every transaction: a store that hangs counts as down.

    `hurry_s` is the limit after a transaction that hung, until one of the same pool succeeds, so that the next callers,
    a rollback among them, do not wait as long each time. `check` is awaited before every transaction; what it raises
    (`OSError`) means that nothing can be kept now.
    """

    def __init__(
        self,
        engines: Engines,
        limit_s: float = 5.0,
        hurry_s: float | None = None,
        check: Callable[[], Awaitable[None]] = nothing_to_check,
    ) -> None:
        self.engines = engines
        self.control = engines.control
        self.lookups = engines.lookups
        self.sessions = engines.sessions
        self.fleet = engines.fleet
        self._limit_s = limit_s
        self._hurry_s = limit_s if hurry_s is None else hurry_s
        self._check = check
        self._hung: set[AsyncEngine] = set()
        self._open = False
        self.groups: dict[AsyncEngine, migrations.Group] = {
            self.control: "control",
            self.lookups: "control",
            self.sessions: "sessions",
            self.fleet: "sessions",
        }
        self._ready: set[AsyncEngine] = set()
        self._preparing = Lock()

    async def open(self) -> None:
        self._open = True
        for engine in (self.control, self.sessions):  # the others find what these have made
            async with self.begin(engine):
                pass

    async def close(self) -> None:
        self._open = False
        for engine in self.groups:
            await engine.dispose()

    def patience_s(self, engine: AsyncEngine) -> float:
        """How long the next transaction on this pool may take, in seconds."""
        return self._hurry_s if engine in self._hung else self._limit_s

    @asynccontextmanager
    async def begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A transaction. Raises `StoreUnavailable`."""
        with self._translated():
            async with self._limited(engine):
                await self._check()
                async with engine.begin() as connection:
                    # Not only in `open`: a store that was down at the start is used as soon as it is back.
                    if engine not in self._ready:
                        await self._prepare(engine, connection)
                    yield connection

    @asynccontextmanager
    async def _limited(self, engine: AsyncEngine) -> AsyncIterator[None]:
        try:
            async with timeout(self.patience_s(engine)):
                yield
            self._hung.discard(engine)
        except (PoolTimeout, TimeoutError):
            self._hung.add(engine)
            raise

    async def _prepare(self, engine: AsyncEngine, connection: AsyncConnection) -> None:
        group = self.groups[engine]
        if await connection.run_sync(migrations.current, group) != migrations.HEADS[group]:
            async with self._preparing:  # Alembic has one context per process
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
    if isinstance(error, FolderLost):
        return error.words
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__
