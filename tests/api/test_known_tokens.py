"""What a cell knows of tokens: it forgets what has ended, but not before every cookie that names it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.api.access import SESSION_S
from app.api.known_tokens import KEPT_S, KnownTokens
from app.errors import StoreUnavailable
from app.store.port import Token
from app.store.sql import SqlStore, sqlite_store

START = 1e6


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = sqlite_store(tmp_path)
    await store.open()
    yield store
    await store.close()


async def test_tokens_that_ended_are_forgotten_and_no_others(store: SqlStore) -> None:
    now = START
    ends: dict[str, tuple[float | None, float | None]] = {
        "good": (None, None),
        "expired": (START + 10, None),
        "revoked": (None, START + 10),
        "revoked early": (START + 2 * KEPT_S, START + 10),
        "good for long": (START + 2 * KEPT_S, None),
    }
    for digest, (expires_at, revoked_at) in ends.items():
        await store.save_token(Token(digest, "ann", "oncall", "bearer", 1.0, expires_at, revoked_at))
    known = KnownTokens(store, lambda: now)
    await known.open()
    now = START + 10 + KEPT_S - 1
    await known.find("good")
    assert len(known) == 5
    now += 700
    await known.find("good")
    assert len(known) == 2
    # It is no more in the store either: nobody is let in by a token that is unknown.
    await store.delete_tokens(["bearer"], now, 100)
    assert await known.find("revoked") is None
    assert len(known) == 2


def test_what_ended_is_known_for_longer_than_a_cookie_that_names_it_is_good() -> None:
    assert KEPT_S > SESSION_S


async def test_a_revoked_token_stays_revoked_while_the_store_is_away(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    await store.open()
    now = START
    await store.save_token(Token("gone", "ann", "oncall", "session", START, START + SESSION_S, START + 1))
    known = KnownTokens(store, lambda: now)
    await known.open()
    await store.close()
    for now in (START + 1, START + SESSION_S, START + KEPT_S):
        token = await known.find("gone")
        assert token is not None
        assert not token.valid(now)
    with pytest.raises(StoreUnavailable):
        await known.find("never seen")
