"""What has ended is deleted by the cell that leads, a few rows at a time, and nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from app.control.retention import BATCH, RECEIPTS, SIGN_INS_S, TOKENS_S, Retention
from app.errors import StoreUnavailable
from app.store import tables
from app.store.port import SeriesChunk, StoredRecord, TokenKind
from app.store.sql import SqlStore, sqlite_store
from tests.store.stores import entry

NOW = 1e9
LONG_S = 1000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = sqlite_store(tmp_path)
    await store.open()
    yield store
    await store.close()


async def fill(store: SqlStore, kind: TokenKind, count: int, **ended: float) -> None:
    made = {"name": "ann", "role": "manager", "kind": kind, "created_at": 1.0, "expires_at": None, "revoked_at": None}
    rows: list[dict[str, Any]] = [{"digest": f"{kind} {number} {ended}", **made, **ended} for number in range(count)]
    async with store.begin(store.control) as connection:
        await connection.execute(insert(tables.tokens), rows)


async def left(store: SqlStore) -> dict[str, int]:
    """Tokens by kind."""
    query = select(tables.tokens.c.kind, func.count()).group_by(tables.tokens.c.kind)
    async with store.begin(store.control) as connection:
        return {row[0]: row[1] for row in await connection.execute(query)}


def retention(store: SqlStore, leads: bool = True, pause_s: float = 0.0) -> Retention:
    return Retention(store, lambda: leads, clock=lambda: NOW, pause_s=pause_s)


async def test_what_ended_long_ago_is_deleted_however_much_it_is(store: SqlStore) -> None:
    for kind in ("code", "session"):
        await fill(store, kind, 2 * BATCH + 1, expires_at=NOW - SIGN_INS_S - 1)
        await fill(store, kind, 2, revoked_at=NOW - SIGN_INS_S + 1)
    await fill(store, "bearer", BATCH, revoked_at=NOW - TOKENS_S - 1)
    await fill(store, "bearer", 3, expires_at=NOW - TOKENS_S + 1)
    await fill(store, "bearer", 4)
    await retention(store).delete_ended()
    assert await left(store) == {"code": 2, "session": 2, "bearer": 7}


async def test_receipts_are_kept_up_to_a_number(store: SqlStore) -> None:
    rows = [{"id": f"r{number}", "at": float(number), "receipt": "x"} for number in range(RECEIPTS + BATCH + 1)]
    async with store.begin(store.control) as connection:
        await connection.execute(insert(tables.rollbacks), rows)
    await retention(store).delete_ended()
    async with store.begin(store.control) as connection:
        count = await connection.scalar(select(func.count()).select_from(tables.rollbacks))
    assert count == RECEIPTS
    assert await store.load_rollback(f"r{BATCH}") is None
    assert await store.load_rollback(f"r{BATCH + 1}") is not None


async def test_figures_of_cells_that_are_gone_are_deleted(store: SqlStore) -> None:
    now = int(NOW)
    ages = {1: 3600, 10: 86_400, 60: 30 * 86_400}
    for step_s, keep_s in ages.items():
        over = [SeriesChunk(f"{step_s}@gone", step_s, now - keep_s - age, b"x") for age in (1, 2)]
        await store.save_series([*over, SeriesChunk("still", step_s, now - keep_s, b"x")], {})
    await retention(store).delete_ended()
    assert [len(await store.load_series(f"{step_s}@gone")) for step_s in ages] == [0, 0, 0]
    assert len(await store.load_series("still")) == 3


async def test_a_cell_that_does_not_lead_deletes_nothing(store: SqlStore) -> None:
    await fill(store, "code", 1, expires_at=0.0)
    await retention(store, leads=False).delete_ended()
    assert await left(store) == {"code": 1}


async def test_a_cell_that_leads_no_longer_stops_after_its_batch(store: SqlStore) -> None:
    await fill(store, "code", 3 * BATCH, expires_at=0.0)
    answers = iter([True, True, False, False, False])
    await Retention(store, lambda: next(answers), clock=lambda: NOW, pause_s=0.0).delete_ended()
    assert await left(store) == {"code": BATCH}


class Told(SqlStore):
    """The real store, which says when a batch is deleted."""

    def __init__(self, real: SqlStore) -> None:
        super().__init__(real.engines)
        self.deleted = asyncio.Event()

    async def delete_tokens(self, kinds: Collection[TokenKind], ended_before: float, most: int) -> int:
        count = await super().delete_tokens(kinds, ended_before, most)
        self.deleted.set()
        return count


async def test_a_command_is_saved_between_two_batches(tmp_path: Path) -> None:
    store = Told(sqlite_store(tmp_path))
    await store.open()
    try:
        await fill(store, "code", 3 * BATCH, expires_at=0.0)
        deleting = asyncio.create_task(retention(store, pause_s=LONG_S).delete_ended())
        await store.deleted.wait()
        await store.save_record(StoredRecord(1, "rolled back"), None, entry("rollback"))
        assert await left(store) == {"code": 2 * BATCH}
        deleting.cancel()
        await asyncio.gather(deleting, return_exceptions=True)
    finally:
        await store.close()


async def test_a_store_that_is_away_is_asked_again_later(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    with pytest.raises(StoreUnavailable):
        await store.delete_tokens(["code"], NOW, BATCH)
    await retention(store).delete_ended()
