"""Saved sessions in a real store: found by another cell, used once, and kept while the store is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time

import pytest

from app.errors import StoreUnavailable
from app.gateway.resume_store import BATCH, ResumeStore
from app.gateway.saved_session import SavedSession
from app.store.port import Store, StoredResume
from app.store.sql import sqlite_store


def saved(document: bytes = b"one", expires_in_s: float = 60.0) -> SavedSession:
    return SavedSession("ann", "t-ann", document, {"m1": "agent_completed"}, 1, time() + expires_in_s, True)


@dataclass
class Living:
    """Living sessions that have changed, handed over once."""

    waiting: list[tuple[str, SavedSession]] = field(default_factory=list)

    def changed(self, most: int) -> list[tuple[str, SavedSession]]:
        batch, self.waiting = self.waiting[:most], self.waiting[most:]
        return batch


NOBODY = Living()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = sqlite_store(tmp_path)
    await store.open()
    yield store
    await store.close()


async def test_another_cell_finds_a_session_once(store: Store) -> None:
    here, there = ResumeStore(store), ResumeStore(store)
    here.save("token", kept := saved())
    await here.write(NOBODY)
    assert await there.load("token") == kept
    assert await there.load("token") is None


async def test_what_is_not_written_yet_is_found_here(store: Store) -> None:
    here = ResumeStore(store)
    here.save("token", kept := saved())
    assert await here.load("token") == kept
    await here.write(NOBODY)
    assert await ResumeStore(store).load("token") is None, "taken out before it was written"


async def test_living_sessions_are_written_however_many_have_changed(store: Store) -> None:
    tokens = [f"token-{number}" for number in range(BATCH + 1)]
    await ResumeStore(store).write(Living([(token, saved(token.encode())) for token in tokens]))
    there = ResumeStore(store)
    for token in (tokens[0], tokens[-1]):
        found = await there.load(token)
        assert found is not None
        assert found.document == token.encode()


async def test_a_used_token_is_good_for_nothing_even_when_a_later_state_was_still_to_be_written(store: Store) -> None:
    here = ResumeStore(store)
    here.save("token", saved(b"one"))
    await here.write(NOBODY)
    here.save("token", saved(b"two"))
    here.forget("token")
    await here.write(NOBODY)
    assert await ResumeStore(store).load("token") is None


class Away:
    """A store that does not answer until it is back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.back = False

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None:
        if not self.back:
            raise StoreUnavailable("away")
        await self._store.save_resumes(resumes)

    async def take_resume(self, digest: str, now: float) -> StoredResume | None:
        if not self.back:
            raise StoreUnavailable("away")
        return await self._store.take_resume(digest, now)


async def test_a_store_that_is_away_gets_it_all_when_it_is_back_but_what_has_expired(store: Store) -> None:
    away = Away(store)
    here = ResumeStore(away)
    before = ResumeStore(store)
    before.save("used", saved())
    await before.write(NOBODY)
    here.save("kept", saved())
    here.save("expired", saved(expires_in_s=-1.0))
    here.forget("used")
    for _ in range(2):
        await here.write(NOBODY)
    assert await ResumeStore(away).load("kept") is None, "a store that is away has nothing"
    away.back = True
    await here.write(NOBODY)
    assert await store.delete_resumes(time()) == 0, "what has expired was not written"
    there = ResumeStore(store)
    assert await there.load("kept") is not None
    assert await there.load("used") is None
