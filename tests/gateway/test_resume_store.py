"""Saved sessions in a real store: written behind, kept while the store is away, deleted when they are spent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time

import pytest

from app.errors import StoreUnavailable
from app.gateway.resume_store import BATCH, ResumeStore, row_of, saved_in
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


async def found(store: Store, digest: str) -> SavedSession | None:
    claimed = await store.claim_resume(digest, "there", time())
    return None if claimed is None else saved_in(claimed.resume)


async def test_another_cell_finds_a_session(store: Store) -> None:
    here = ResumeStore(store, "here")
    here.save("digest", kept := saved())
    await here.write(NOBODY)
    assert await found(store, "digest") == kept


async def test_living_sessions_are_written_however_many_have_changed(store: Store) -> None:
    digests = [f"digest-{number}" for number in range(BATCH + 1)]
    await ResumeStore(store, "here").write(Living([(digest, saved(digest.encode())) for digest in digests]))
    for digest in (digests[0], digests[-1]):
        there = await found(store, digest)
        assert there is not None
        assert there.document == digest.encode()


@pytest.mark.parametrize("written", [False, True])
async def test_a_spent_token_is_good_for_nothing_even_when_a_later_state_was_still_to_be_written(
    store: Store, written: bool
) -> None:
    here = ResumeStore(store, "here")
    here.save("digest", saved(b"one"))
    if written:
        await here.write(NOBODY)
    here.save("digest", saved(b"two"))
    here.spend("digest")
    await here.write(NOBODY)
    assert await found(store, "digest") is None


async def test_what_is_spent_is_deleted_before_anybody_is_asked(store: Store) -> None:
    here = ResumeStore(store, "here")
    here.save("digest", saved())
    await here.write(NOBODY)
    here.spend("digest")
    await here.flush()
    assert await found(store, "digest") is None


async def test_a_cell_that_ends_leaves_its_sessions_to_whoever_claims_them(store: Store) -> None:
    here = ResumeStore(store, "here")
    here.save("digest", saved())
    await here.close(NOBODY)
    claimed = await store.claim_resume("digest", "there", time())
    assert claimed is not None
    assert claimed.previous == ""


def test_what_another_version_wrote_is_no_session() -> None:
    for outcomes in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa1x\x01"):
        assert saved_in(StoredResume("digest", b"", outcomes, 1.0, "here")) is None
    assert saved_in(row_of("digest", kept := saved(), "here")) == kept


class Away:
    """A store that does not answer until it is back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.back = False

    def _look(self) -> None:
        if not self.back:
            raise StoreUnavailable("away")

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None:
        self._look()
        await self._store.save_resumes(resumes)

    async def spend_resumes(self, digests: Sequence[str], holder: str) -> None:
        self._look()
        await self._store.spend_resumes(digests, holder)

    async def release_resumes(self, holder: str) -> None:
        self._look()

    async def delete_resumes(self, now: float, most: int) -> int:
        self._look()
        return await self._store.delete_resumes(now, most)


async def test_a_store_that_is_away_gets_it_all_when_it_is_back_but_what_has_expired(store: Store) -> None:
    away = Away(store)
    here = ResumeStore(away, "here")
    before = ResumeStore(store, "here")
    before.save("used", saved())
    await before.write(NOBODY)
    here.save("kept", saved())
    here.save("expired", saved(expires_in_s=-1.0))
    here.spend("used")
    for _ in range(2):
        await here.write(NOBODY)
    with pytest.raises(StoreUnavailable):
        await here.flush()
    away.back = True
    await here.write(NOBODY)
    assert await store.delete_resumes(time(), 10) == 0, "what has expired was not written"
    assert await found(store, "kept") is not None
    assert await found(store, "used") is None
