"""Write-behind of ended and, once a second, of living sessions to the store, so that a resume works in any cell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic, time
from typing import Protocol

import msgspec
import structlog

from app.errors import StoreUnavailable
from app.gateway.saved_session import SavedSession
from app.store.port import StoredResume

WRITE_BEHIND_S = 1.0
BATCH = 500
"""Living sessions saved in one turn of the loop."""
DELETE_EVERY_S = 2.0
DELETED = 2_000
"""Expired sessions deleted in one transaction, which must not keep others waiting: 1,000 a second."""
WAITING = 100_000
"""Sessions that wait for a store which is away; the oldest of more are lost to other cells."""
log = structlog.get_logger()


class ResumeRows(Protocol):
    """What is asked of the store. All calls raise `StoreUnavailable`."""

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None: ...
    async def spend_resumes(self, digests: Sequence[str], holder: str) -> None: ...
    async def release_resumes(self, holder: str) -> None: ...
    async def delete_resumes(self, now: float, most: int) -> int: ...


class LivingSessions(Protocol):
    """Where the sessions that have changed are asked for; `ResumeIndex` is one."""

    def changed(self, most: int) -> list[tuple[str, SavedSession]]:
        """Digest and state of up to `most` living sessions that have changed since the last call."""
        ...


class ResumeStore:
    """Implements `app.gateway.ports.SavedSessions`; `run` writes what waits, once a second."""

    def __init__(self, store: ResumeRows, holder: str) -> None:
        """`holder` is this cell's name."""
        self._store = store
        self._holder = holder
        self._waiting: dict[str, SavedSession] = {}
        self._spent: list[str] = []
        self._failing = False
        self._deleted_at = 0.0
        self._writing = asyncio.Lock()

    def save(self, digest: str, saved: SavedSession) -> None:
        self._waiting[digest] = saved

    def drop(self, digest: str) -> None:
        self._waiting.pop(digest, None)

    def spend(self, digest: str) -> None:
        self._waiting.pop(digest, None)
        self._spent.append(digest)  # an earlier state of it may be in the store

    async def run(self, living: LivingSessions) -> None:
        """Write behind, and delete what has expired, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_BEHIND_S)
            await self.write(living)
            await self._delete_expired()

    async def write(self, living: LivingSessions) -> None:
        """Write everything that waits; kept for the next time when the store does not answer."""
        while changed := living.changed(BATCH):
            self._waiting.update(changed)
            await asyncio.sleep(0)
        async with self._writing:
            await self._write()

    async def flush(self) -> None:
        """Delete what is spent now. Raises StoreUnavailable."""
        async with self._writing:
            spent, self._spent = self._spent, []
            if not spent:
                return
            try:
                await self._store.spend_resumes(spent, self._holder)
            except StoreUnavailable:
                self._spent = spent + self._spent
                raise

    async def close(self, living: LivingSessions) -> None:
        """Write everything, and leave it to whoever claims it."""
        await self.write(living)
        try:
            await self._store.release_resumes(self._holder)
        except StoreUnavailable:
            log.warning("the store does not answer: other cells will wait before they take up sessions of this one")

    async def _write(self) -> None:
        batch, self._waiting = self._waiting, {}
        spent, self._spent = self._spent, []
        try:
            await self._store.save_resumes([row_of(digest, saved, self._holder) for digest, saved in batch.items()])
            await self._store.spend_resumes(spent, self._holder)
            self._failing = False
        except StoreUnavailable:
            now = time()
            waiting = {digest: saved for digest, saved in batch.items() if saved.expires_at > now} | self._waiting
            self._waiting = dict(list(waiting.items())[-WAITING:])
            self._spent = (spent + self._spent)[-WAITING:]
            if not self._failing:
                log.warning("the store does not answer: sessions are not saved", waiting=len(self._waiting))
            self._failing = True

    async def _delete_expired(self) -> None:
        if self._failing or monotonic() - self._deleted_at < DELETE_EVERY_S:
            return
        try:
            await self._store.delete_resumes(time(), DELETED)
        except StoreUnavailable:
            return  # the next write says so
        self._deleted_at = monotonic()


def row_of(digest: str, saved: SavedSession, holder: str) -> StoredResume:
    """A session as the store keeps it."""
    rest = msgspec.msgpack.encode(msgspec.structs.replace(saved, document=None))
    return StoredResume(digest, saved.document, rest, saved.expires_at, holder)


def saved_in(resume: StoredResume) -> SavedSession | None:
    """The session that `row_of` wrote; None: another version wrote it, and this one cannot read it."""
    try:
        saved = msgspec.msgpack.decode(resume.outcomes, type=SavedSession)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return msgspec.structs.replace(saved, document=resume.document)
