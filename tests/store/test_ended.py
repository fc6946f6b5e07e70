"""What every store deletes once it has ended, on SQLite and on a real PostgreSQL: a few rows at a time, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from app.store.port import AuditSize, SeriesChunk, StoredRollback, Token
from app.store.sql import SqlStore
from tests.store.stores import entry, opened


@pytest_asyncio.fixture
async def store(place: str) -> AsyncIterator[SqlStore]:
    async with opened(place) as made:
        yield made


async def test_tokens_are_deleted_by_kind_some_time_after_their_end_and_a_few_at_a_time(store: SqlStore) -> None:
    ends: list[tuple[float | None, float | None]] = [(None, None), (100.0, None), (None, 100.0), (900.0, 100.0)]
    for kind in ("bearer", "code", "session"):
        for number, (expires_at, revoked_at) in enumerate(ends):
            digest = f"{kind}{number}"
            await store.save_token(Token(digest, "ann", "manager", kind, 1.0, expires_at, revoked_at))
    assert await store.delete_tokens(["code", "session"], 100.0, 100) == 0, "it ended then, and not before"
    deleted = [await store.delete_tokens(["code", "session"], 100.5, 4) for _ in range(3)]
    assert deleted == [4, 2, 0]
    assert await store.find_token("code1") is None
    assert {token.digest for token in await store.load_tokens()} == {"session0", *(f"bearer{n}" for n in range(4))}
    assert await store.find_token("code0") is not None
    assert await store.delete_tokens(["bearer"], 1e9, 100) == 3


async def test_a_token_is_renewed_unless_it_was_revoked(store: SqlStore) -> None:
    await store.save_token(Token("kept", "ann", "manager", "bearer", 1.0, 10.0))
    await store.save_token(Token("gone", "ann", "manager", "bearer", 1.0, 10.0))
    assert await store.revoke_token("gone", 5.0)
    assert [await store.renew_token(digest, 20.0) for digest in ("kept", "gone", "never")] == [True, False, False]
    assert {token.digest: token.expires_at for token in await store.load_tokens()} == {"kept": 20.0, "gone": 10.0}


async def test_the_newest_receipts_are_kept(store: SqlStore) -> None:
    assert await store.delete_rollbacks(5, 100) == 0
    for number in range(12):
        await store.save_rollback(StoredRollback(f"r{number}", float(number), "x"))
    assert [await store.delete_rollbacks(5, 4) for _ in range(3)] == [4, 3, 0]
    found = [await store.load_rollback(f"r{number}") is not None for number in range(12)]
    assert found == [False] * 7 + [True] * 5


async def test_the_audit_says_about_how_much_it_is(store: SqlStore) -> None:
    assert await store.measure_audit() == AuditSize(0, 0)
    for _ in range(3):
        await store.append_audit(entry(reason="r" * 1000))
    size = await store.measure_audit()
    assert size.entries == 3
    assert 3000 < size.size_bytes < 4000


async def test_figures_of_cells_that_are_gone_are_deleted_a_few_at_a_time(store: SqlStore) -> None:
    late = 4_000_000_000
    for cell in ("gone", "gone too"):
        await store.save_series([SeriesChunk(cell, 60, late + number, b"x") for number in range(30)], {})
        await store.save_series([SeriesChunk(cell, 7, late + number, b"of another version") for number in range(2)], {})
    deleted = [await store.delete_series({1: late + 9, 60: late + 10}, 15) for _ in range(3)]
    assert deleted == [15, 9, 0], "20 of a known step, and the 4 of an unknown one, which are older than all"
    assert len(await store.load_series("gone")) == 20
