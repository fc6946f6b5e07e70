"""Nothing that clients, strangers or pages cause holds up the control record: it has connections of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import StoreUnavailable
from app.store.engines import HURRY_S
from app.store.port import StoredCell, StoredRecord, StoredResume, StoredRollback
from app.store.sql import SqlStore
from rollout.views import AuditFilter
from tests.store.stores import entry, opened

LIMIT_S = 60.0
"""Nothing may give up by itself while a test looks."""
CALLS = 10
"""More than any pool has connections."""


@asynccontextmanager
async def locked(place: str, table: str) -> AsyncIterator[None]:
    """Nobody can use this table (SQLite: write to its file) until the block ends."""
    kind, _, folder = place.partition(":")
    if kind == "sqlite":
        connection = sqlite3.connect(Path(folder) / "sessions.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.rollback()
        connection.close()
        return
    import asyncpg

    blocker: Any = await asyncpg.connect(place)  # type: ignore[no-untyped-call]
    async with blocker.transaction():
        await blocker.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
    await blocker.close()


@asynccontextmanager
async def stuck(
    engine: AsyncEngine, call: Callable[[int], Awaitable[object]], until: AbstractAsyncContextManager[None]
) -> AsyncIterator[None]:
    """More calls at once than there are connections; none of them can go on while the block, and `until`, last."""
    async with until:
        calls = [asyncio.ensure_future(call(number)) for number in range(CALLS)]
        async with asyncio.timeout(30):
            while engine.pool.checkedout() < size_of(engine):  # type: ignore[attr-defined]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            yield
        assert not any(each.done() for each in calls), "they were to wait all the time"
    await asyncio.gather(*calls)


@asynccontextmanager
async def taken(engine: AsyncEngine) -> AsyncIterator[None]:
    """Somebody else uses all connections of the pool until the block ends."""
    async with AsyncExitStack() as stack:
        for _ in range(size_of(engine)):
            await stack.enter_async_context(engine.connect())
        yield


def size_of(engine: AsyncEngine) -> int:
    size: int = engine.pool.size()  # type: ignore[attr-defined]
    return size


async def use_the_record(store: SqlStore) -> None:
    """Everything that a rollback and the control loop need of a store."""
    await store.save_record(StoredRecord(1, "one"), None, entry())
    await store.rewrite_record(StoredRecord(1, "a moment later"))
    assert await store.load_record() == StoredRecord(1, "a moment later")
    await store.save_pin("ann", "v3", entry())
    assert await store.load_pins() == {"ann": "v3"}
    await store.append_audit(entry())
    await store.save_rollback(StoredRollback("1-0", 1.0, "{}"))
    assert await store.load_rollback("1-0") is not None


async def test_documents_of_clients_that_cannot_be_saved_delay_nobody(place: str) -> None:
    async with opened(place, LIMIT_S) as store:
        rows = [StoredResume(str(number), b"", b"", 9.0, "a") for number in range(CALLS)]
        lock = locked(place, "resumes, series")
        async with stuck(store.sessions, lambda number: store.save_resumes([rows[number]]), lock):
            await use_the_record(store)
            await store.load_tokens()
            await store.load_cells()
            if not place.startswith("sqlite"):  # whose file has one writer at a time
                assert await store.acquire_lease("leader", "a/1", 5.0)
                await store.save_cell(StoredCell("a", "host", 1, "{}"))


async def test_strangers_whose_tokens_cannot_be_looked_up_delay_nobody(postgres_url: str) -> None:
    async with opened(postgres_url, LIMIT_S) as store:
        lock = locked(postgres_url, "tokens")
        async with stuck(store.lookups, lambda number: store.find_token(str(number)), lock):
            await use_the_record(store)


async def test_slow_searches_of_the_audit_delay_nobody(place: str) -> None:
    async with opened(place, LIMIT_S) as store:
        search = AuditFilter(text="x")
        async with stuck(store.lookups, lambda _: store.load_audit(wanted=search), taken(store.lookups)):
            await use_the_record(store)


async def test_after_a_hang_only_the_pool_that_hung_is_given_less_time(postgres_url: str) -> None:
    async with opened(postgres_url, 2.0) as store:
        engine = store.sessions
        usual_s = store.patience_s(store.control)
        async with taken(engine):
            with pytest.raises(StoreUnavailable):
                async with store.begin(engine):
                    pass
        assert store.patience_s(engine) == HURRY_S
        assert store.patience_s(store.control) == usual_s
