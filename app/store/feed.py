"""Hears of changes of the record: PostgreSQL says so, SQLite's change counter is looked at.

Knows the record's revision only; what it hears is a hint to read, never the change itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import StoreUnavailable
from app.store import tables
from app.store.connections import Connections
from app.store.dialects import CHANNEL, POSTGRESQL

if TYPE_CHECKING:
    import aiosqlite

NAME = "rollout"
"""Of the one record."""
POLL_S = 0.025
"""SQLite's counter is looked at so often; it takes no lock and reads no page."""
BACKSTOP_S = 1.0
"""A PostgreSQL that said nothing for so long is asked, which also shows that the connection lives."""
RETRY_S = 0.25


async def read_revision(connection: AsyncConnection) -> int:
    """The record's revision; 0 before there is one."""
    table = tables.rollout
    return await connection.scalar(select(table.c.revision).where(table.c.name == NAME)) or 0


class Feed(Connections):
    """See `Store.changes`."""

    async def changes(self) -> AsyncGenerator[int, None]:
        last = -1
        while True:
            with suppress(StoreUnavailable):
                async with self._listening() as ear:
                    while True:
                        if (revision := await ear.hear()) >= last:
                            last = revision
                            yield revision
            await asyncio.sleep(RETRY_S)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[_Ear]:
        """Raises `StoreUnavailable`, also out of the block, when the connection is lost."""
        async with self._begin(self._control):
            pass  # the tables are there
        with self._translated():
            async with self._control.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                async with self._ear(connection) as ear:
                    yield ear

    def _ear(self, connection: AsyncConnection) -> AbstractAsyncContextManager[_Ear]:
        if connection.dialect.name == POSTGRESQL:
            return _notified(connection, self._limit_s)
        return nullcontext(_Watcher(connection, self._limit_s))


class _Ear(Protocol):
    async def hear(self) -> int:
        """The revision, when it may have changed; the first time at once."""
        ...


class _Watcher:
    """SQLite: this connection's view of the file changes with every commit of another."""

    def __init__(self, connection: AsyncConnection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._seen: int | None = None

    async def hear(self) -> int:
        while (version := await self._version()) == self._seen:  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(POLL_S)
        self._seen = version
        async with asyncio.timeout(self._limit_s):
            return await read_revision(self._connection)

    async def _version(self) -> int:
        driver = cast("aiosqlite.Connection", (await self._connection.get_raw_connection()).driver_connection)
        async with asyncio.timeout(self._limit_s):
            ((version,),) = await driver.execute_fetchall("PRAGMA data_version")
        return int(version)


class _Listener:
    """PostgreSQL: what NOTIFY said; None: the connection is gone."""

    def __init__(self, connection: AsyncConnection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._said: asyncio.Queue[int | None] = asyncio.Queue()
        self._last = -1

    def notify(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._said.put_nowait(int(cast("str", payload)))

    def end(self, _connection: object) -> None:
        self._said.put_nowait(None)

    async def hear(self) -> int:
        revision = await self._ask() if self._last < 0 else await self._next()
        self._last = max(self._last, revision)
        return revision

    async def _next(self) -> int:
        while True:
            try:
                async with asyncio.timeout(BACKSTOP_S):
                    said = await self._said.get()
            except TimeoutError:
                if (asked := await self._ask()) > self._last:
                    return asked
                continue
            if said is None:
                raise ConnectionError("the connection that listens was lost")
            return said

    async def _ask(self) -> int:
        async with asyncio.timeout(self._limit_s):
            return await read_revision(self._connection)


@asynccontextmanager
async def _notified(connection: AsyncConnection, limit_s: float) -> AsyncIterator[_Listener]:
    """LISTEN until the block ends."""
    driver = cast("Any", (await connection.get_raw_connection()).driver_connection)
    listener = _Listener(connection, limit_s)
    driver.add_termination_listener(listener.end)
    try:
        await driver.add_listener(CHANNEL, listener.notify)
        yield listener
    finally:
        driver.remove_termination_listener(listener.end)
        await connection.invalidate()  # whoever gets it from the pool next must not be called for this
