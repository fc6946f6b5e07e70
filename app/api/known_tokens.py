"""The store's tokens as one cell knows them: fresh within a second, and still there while the store is down.

Knows tokens by their digest; must not know of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from app.errors import StoreUnavailable
from app.store.port import Store, Token

FRESH_S: Final = 1.0
"""A token looked up so recently is not looked up again; a revocation takes so long at most."""
PATIENCE_S: Final = 0.25
"""A known token is not held up longer by a store that hangs: a rollback may be behind it."""


class KnownTokens:
    """`clock` in Unix seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[Token, float]] = {}

    async def open(self) -> None:
        """Learn the tokens there are, so that they open the door for a rollback when the store is down."""
        self._known = {token.digest: (token, 0.0) for token in await self._store.load_tokens()}

    async def find(self, digest: str) -> Token | None:
        """The token of this digest, good or not; while the store is down, as it was last known.

        Raises StoreUnavailable when the store is down and this one was never seen here.
        """
        token, asked_at = self._known.get(digest, (None, 0.0))
        if token is not None and self._clock() - asked_at < FRESH_S:
            return token
        try:
            async with asyncio.timeout(None if token is None else PATIENCE_S):
                found = await self._store.find_token(digest)
        except (StoreUnavailable, TimeoutError):
            if token is None:
                raise
            return token
        if found is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = (found, self._clock())
        return found
