"""Write-behind of ended and, once a second, of living sessions to the store, so that a resume works in any cell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from time import time
from typing import Protocol

import msgspec
import structlog

from app.errors import StoreUnavailable
from app.gateway.saved_session import SavedSession
from app.store.port import StoredResume

WRITE_BEHIND_S = 1.0
BATCH = 500
"""Living sessions saved in one turn of the loop."""
log = structlog.get_logger()


class ResumeRows(Protocol):
    """What is asked of the store. Both calls raise `StoreUnavailable`."""

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None: ...
    async def take_resume(self, digest: str, now: float) -> StoredResume | None: ...


class LivingSessions(Protocol):
    """Where the sessions that have changed are asked for; `ResumeIndex` is one."""

    def changed(self, most: int) -> list[tuple[str, SavedSession]]:
        """Token and state of up to `most` living sessions that have changed since the last call."""
        ...


class ResumeStore:
    """Implements `app.gateway.ports.SavedSessions`; `run` writes what waits, once a second."""

    def __init__(self, store: ResumeRows) -> None:
        self._store = store
        self._waiting: dict[str, SavedSession] = {}
        self._used: list[str] = []
        self._failing = False

    def save(self, token: str, saved: SavedSession) -> None:
        self._waiting[token] = saved

    def forget(self, token: str) -> None:
        self._waiting.pop(token, None)
        self._used.append(token)  # an earlier state of it may be in the store

    async def load(self, token: str) -> SavedSession | None:
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            return waiting
        try:
            resume = await self._store.take_resume(digest(token), time())
        except StoreUnavailable:
            return None
        if resume is None:
            return None
        saved = msgspec.msgpack.decode(resume.outcomes, type=SavedSession)
        return msgspec.structs.replace(saved, document=resume.document)

    async def run(self, living: LivingSessions) -> None:
        """Write behind until cancelled."""
        while True:
            await asyncio.sleep(WRITE_BEHIND_S)
            await self.write(living)

    async def write(self, living: LivingSessions) -> None:
        """Write everything that waits; kept for the next time when the store does not answer."""
        while changed := living.changed(BATCH):
            self._waiting.update(changed)
            await asyncio.sleep(0)
        batch, self._waiting = self._waiting, {}
        used, self._used = self._used, []
        try:
            if batch:
                await self._store.save_resumes([_resume(token, saved) for token, saved in batch.items()])
            for token in used:
                await self._store.take_resume(digest(token), time())
            self._failing = False
        except StoreUnavailable:
            now = time()
            self._waiting = {token: saved for token, saved in batch.items() if saved.expires_at > now} | self._waiting
            self._used = used + self._used
            if not self._failing:
                log.warning("the store does not answer: sessions are not saved", waiting=len(self._waiting))
            self._failing = True


def _resume(token: str, saved: SavedSession) -> StoredResume:
    rest = msgspec.msgpack.encode(msgspec.structs.replace(saved, document=None))
    return StoredResume(digest(token), saved.document, rest, saved.expires_at)


def digest(token: str) -> str:
    """The key of a token in the store, which never has the token itself."""
    return sha256(token.encode()).hexdigest()
