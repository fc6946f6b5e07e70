"""Watches the record for changes: PostgreSQL notifies, SQLite's change counter is polled.

It yields revisions only: a hint to read the record again, never the change itself.
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
"""Primary key of the only record."""
POLL_S = 0.025
"""Seconds between looks at SQLite's counter, each without a lock or a page read."""
BACKSTOP_S = 1.0
"""Seconds without a notification after which PostgreSQL is asked, which also shows that the connection is alive."""
RETRY_S = 0.25
"""Seconds before listening again after the store was lost."""


async def read_revision(connection: AsyncConnection) -> int:
    """The record's revision; 0 before there is one."""
    table = tables.rollout
    return await connection.scalar(select(table.c.revision).where(table.c.name == NAME)) or 0


class Feed(Connections):
    """Implements `changes` of `port.Store`."""

    async def changes(self) -> AsyncGenerator[int, None]:
        last = -1
        while True:
            with suppress(StoreUnavailable):
                async with self._listening() as source:
                    while True:
                        if (revision := await source.next()) >= last:
                            last = revision
                            yield revision
            await asyncio.sleep(RETRY_S)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[_Source]:
        """Raises `StoreUnavailable`, also out of the block, when the connection is lost."""
        async with self.begin(self.control):
            pass  # brings the tables up to date
        with self._translated():
            async with self.control.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                async with self._source(connection) as source:
                    yield source

    def _source(self, connection: AsyncConnection) -> AbstractAsyncContextManager[_Source]:
        if connection.dialect.name == POSTGRESQL:
            return _notified(connection, self._limit_s)
        return nullcontext(_Poller(connection, self._limit_s))


class _Source(Protocol):
    async def next(self) -> int:
        """The revision, as soon as it may have changed; at the first call without waiting."""
        ...


class _Poller:
    """SQLite: the counter that this connection sees changes with every commit of another one."""

    def __init__(self, connection: AsyncConnection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._seen: int | None = None

    async def next(self) -> int:
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
    """PostgreSQL: revisions from NOTIFY; None in the queue: the connection is lost."""

    def __init__(self, connection: AsyncConnection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._notified: asyncio.Queue[int | None] = asyncio.Queue()
        self._last = -1

    def notify(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._notified.put_nowait(int(cast("str", payload)))

    def end(self, _connection: object) -> None:
        self._notified.put_nowait(None)

    async def next(self) -> int:
        revision = await self._read() if self._last < 0 else await self._wait()
        self._last = max(self._last, revision)
        return revision

    async def _wait(self) -> int:
        while True:
            try:
                async with asyncio.timeout(BACKSTOP_S):
                    revision = await self._notified.get()
            except TimeoutError:
                if (stored := await self._read()) > self._last:
                    return stored
                continue
            if revision is None:
                raise ConnectionError("the connection that listens was lost")
            return revision

    async def _read(self) -> int:
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
        await connection.invalidate()  # the next user of a pooled connection must not get our notifications
