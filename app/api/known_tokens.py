"""A cell's cache of the store's tokens: at most a second old, and still usable while the store is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from app.errors import StoreUnavailable
from app.store.port import Store, Token

FRESH_S: Final = 1.0
"""Seconds for which a token is not looked up again, and so the longest that a revocation can take."""
KEPT_S: Final = 86_400.0
"""Seconds for which a token that has ended is still known: longer than any cookie that names it is good.

Until then it is known to have ended also while the store is down.
"""
SWEEP_S: Final = 600.0
PATIENCE_S: Final = 0.25
"""Most seconds that a known token waits for a store that hangs, because the request may be a rollback."""


class KnownTokens:
    """`clock` in Unix seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[Token, float]] = {}
        self._swept_at = 0.0

    def __len__(self) -> int:
        return len(self._known)

    async def open(self) -> None:
        """Load all tokens, so that they allow a rollback even if the store is down later."""
        self._known = {token.digest: (token, 0.0) for token in await self._store.load_tokens()}

    async def find(self, digest: str) -> Token | None:
        """The token with this digest, valid or not; None: there is none. While the store is down, its last known state.

        Raises StoreUnavailable if the store is down and this cell has never seen the token.
        """
        self._forget_ended()
        token, asked_at = self._known.get(digest, (None, 0.0))
        if token is not None and self._clock() - asked_at < FRESH_S:
            return token
        try:
            async with asyncio.timeout(None if token is None else PATIENCE_S):
                stored = await self._store.find_token(digest)
        except (StoreUnavailable, TimeoutError):
            if token is None:
                raise
            return token
        if stored is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = (stored, self._clock())
        return stored

    def _forget_ended(self) -> None:
        """Forget, now and then, what ended long ago: the store deletes it, too."""
        now = self._clock()
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        kept = self._known.items()
        self._known = {digest: known for digest, known in kept if now - known[0].ended_at(now) < KEPT_S}
