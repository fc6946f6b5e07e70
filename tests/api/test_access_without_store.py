"""While the store hangs, known tokens are accepted at once, because the request may be a rollback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from app.api.access import Access, Visitor
from app.store.port import Token
from app.store.sql import SqlStore, sqlite_store
from app.store.tokens import make_token


class HangingStore(SqlStore):
    """Answers no question about a token any more."""

    def __init__(self, real: SqlStore) -> None:
        super().__init__(real.engines)
        self.asked = 0

    async def find_token(self, digest: str) -> Token | None:
        self.asked += 1
        return await asyncio.Future[Token]()


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[HangingStore]:
    made = HangingStore(sqlite_store(tmp_path))
    await made.open()
    yield made
    await made.close()


async def test_a_known_token_opens_while_the_store_hangs(store: HangingStore) -> None:
    now = 1000.0
    secret, token = make_token("oncall", "ann", now, now + 100)
    await store.save_token(token)
    access = Access(store, "a secret of sixteen characters or more", lambda: now)
    await access.open()
    async with asyncio.timeout(2):
        assert await access.find(secret) == Visitor("ann", "oncall")
        now += 101
        assert await access.find(secret) is None
    assert store.asked == 2
