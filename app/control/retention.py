"""Deletes from the store what has ended and what nobody asks for any more; the cell that leads does it for all.

It deletes a few rows at a time, on the connections of lookups, so that no command waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Final, Protocol

import structlog

from app.errors import StoreUnavailable
from app.metrics.series import TIERS
from app.store.port import TokenKind

EVERY_S: Final = 600.0
FIRST_S: Final = 5.0
"""After the start: by then it is known who leads, and a service that is restarted often deletes, too."""
SIGN_INS_S: Final = 7 * 86_400.0
"""A sign-in link that is over says for so long what became of it; a browser's session is kept as long."""
TOKENS_S: Final = 90 * 86_400.0
"""A bearer token that was revoked or has expired is listed for so long."""
RECEIPTS: Final = 1000
"""Receipts of rollbacks that are kept, the newest; the audit names all."""
BATCH: Final = 100
PAUSE_S: Final = 0.2
"""Between two batches, for everybody else who writes."""
log = structlog.get_logger()


class EndedRows(Protocol):
    """What is asked of the store. All calls raise `StoreUnavailable`."""

    async def delete_tokens(self, kinds: Collection[TokenKind], ended_before: float, most: int) -> int: ...
    async def delete_rollbacks(self, keep: int, most: int) -> int: ...
    async def delete_series(self, older_than: Mapping[int, int], most: int) -> int: ...


class Retention:
    """One for the cell; `leads` says whether this cell is the one that deletes. `clock` gives Unix seconds."""

    def __init__(
        self,
        store: EndedRows,
        leads: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.time,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._store = store
        self._leads = leads
        self._clock = clock
        self._pause_s = pause_s

    async def run(self) -> None:
        """Delete soon and then every ten minutes, until cancelled."""
        await asyncio.sleep(FIRST_S)
        while True:
            await self.delete_ended()
            await asyncio.sleep(EVERY_S)

    async def delete_ended(self) -> None:
        """Delete all that has ended by now, as long as this cell leads. Raises nothing: what failed comes next time."""
        now = self._clock()
        deletions = (
            partial(self._store.delete_tokens, ["code", "session"], now - SIGN_INS_S, BATCH),
            partial(self._store.delete_tokens, ["bearer"], now - TOKENS_S, BATCH),
            partial(self._store.delete_rollbacks, RECEIPTS, BATCH),
            partial(self._store.delete_series, {step_s: int(now) - keep_s for step_s, keep_s in TIERS}, BATCH),
        )
        try:
            for delete in deletions:
                await self._all(delete)
        except StoreUnavailable:
            log.debug("the store does not answer: what has ended is deleted later")
        except Exception:
            log.exception("deleting what has ended failed")

    async def _all(self, delete: Callable[[], Awaitable[int]]) -> None:
        while self._leads():
            if await delete() < BATCH:
                return
            await asyncio.sleep(self._pause_s)
