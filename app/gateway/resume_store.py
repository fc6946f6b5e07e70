"""Write-behind of departed (and, once a second, of living) sessions to the store, so that a resume works in any cell.

Knows the store's port and what a departure is; a store that is down costs resumes elsewhere and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from time import time

import msgspec
import structlog

from app.errors import StoreUnavailable
from app.gateway.saved_session import SavedSession
from app.store.port import Store, StoredResume

WRITE_BEHIND_S = 1.0
BATCH = 500
"""Living sessions written down in one turn of the loop."""
log = structlog.get_logger()


class StoredDepartures:
    """See `app.gateway.resume.Departures`; `run` writes what waits, at most once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, SavedSession] = {}
        self._used: list[str] = []
        self._failing = False
        self.living: Callable[[int], list[tuple[str, SavedSession]]] = lambda most: []
        """Hands over up to so many living sessions that have changed; the entrance sets it."""

    def save(self, token: str, departed: SavedSession) -> None:
        self._waiting[token] = departed

    def forget(self, token: str) -> None:
        """The token was used: nobody shall use it again."""
        if self._waiting.pop(token, None) is None:
            self._used.append(token)

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
        departed = msgspec.msgpack.decode(resume.outcomes, type=SavedSession)
        return msgspec.structs.replace(departed, document=resume.document)

    async def run(self) -> None:
        """Write behind until cancelled."""
        while True:
            await asyncio.sleep(WRITE_BEHIND_S)
            await self.write()

    async def write(self) -> None:
        """Everything that waits; kept for the next time when the store does not answer."""
        while changed := self.living(BATCH):
            self._waiting.update(changed)
            await asyncio.sleep(0)
        batch, self._waiting = self._waiting, {}
        used, self._used = self._used, []
        try:
            if batch:
                await self._store.save_resumes([_resume(token, departed) for token, departed in batch.items()])
            for token in used:
                await self._store.take_resume(digest(token), time())
            self._failing = False
        except StoreUnavailable:
            self._waiting = batch | self._waiting
            if not self._failing:
                log.warning("resume documents are not stored", waiting=len(self._waiting))
            self._failing = True


def _resume(token: str, departed: SavedSession) -> StoredResume:
    rest = msgspec.msgpack.encode(msgspec.structs.replace(departed, document=None))
    return StoredResume(digest(token), departed.document, rest, departed.expires_at)


def digest(token: str) -> str:
    """What the store knows of a token."""
    return sha256(token.encode()).hexdigest()
