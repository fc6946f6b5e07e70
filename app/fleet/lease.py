"""Which of several cells leads, that is, takes the automatic steps: the one that holds the store's lease."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from time import monotonic

import structlog

from app.errors import StoreUnavailable
from app.store.port import Store

NAME = "control loop"
TTL_S = 3.0
"""The lease is renewed once a second; when its holder dies, another cell has it within this time and a second."""
log = structlog.get_logger()


def holder_of(cell: str) -> str:
    """Names the holder for one process of a cell: a restarted cell is another holder."""
    return f"{cell}/{secrets.token_hex(4)}"


def cell_of(holder: str) -> str:
    """The cell that a holder is a process of."""
    return holder.rpartition("/")[0]


class Lease:
    """The lease as one cell sees it; `holder` as `holder_of` makes it."""

    def __init__(self, store: Store, holder: str, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._until = 0.0

    @property
    def until(self) -> float:
        """Until when this cell leads, in seconds of the clock: never longer than the store has granted."""
        return self._until

    @property
    def held(self) -> bool:
        """Whether this cell leads now, even after the process stood still."""
        return self._clock() < self._until

    async def keep(self) -> None:
        """Renew the lease, or take it if it is free. Raises nothing."""
        begun_at, before = self._clock(), self.held
        try:
            got = await self._store.acquire_lease(NAME, self._holder, TTL_S)
        except StoreUnavailable:
            return
        self._until = begun_at + TTL_S if got else 0.0
        if got != before:
            log.info("this cell takes the automatic steps" if got else "another cell takes the automatic steps")

    async def release(self) -> None:
        """Give the lease up, so that another cell can have it at once. Raises nothing."""
        if self.held:
            self._until = 0.0
            try:
                await self._store.release_lease(NAME, self._holder)
            except StoreUnavailable:
                return


class OnlyCell:
    """The lease of a cell that is alone: it leads for as long as it keeps calling `keep`."""

    held = True

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.until = 0.0

    async def keep(self) -> None:
        """Lead for as long as a lease lasts: a process that stands still for longer does not lead meanwhile."""
        self.until = self._clock() + TTL_S

    async def release(self) -> None:
        """No other cell waits for it."""
