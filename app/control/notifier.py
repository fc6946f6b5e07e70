"""Tells whoever shows the rollout that something about it may have changed: at once, and once a second anyway.

It must not know what changed, nor who listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

EVERY_S = 1.0


class Notifier:
    """Any number of listeners; `tell` is cheap and may be called from the event loop as often as one likes."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._closed = False

    def tell(self) -> None:
        """Something may have changed."""
        told, self._next = self._next, asyncio.Event()
        told.set()

    def close(self) -> None:
        """End every listener's stream."""
        self._closed = True
        self.tell()

    async def listen(self) -> AsyncIterator[None]:
        """One tick for every change, and one a second for figures that only grow; ends with `close`."""
        while not self._closed:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._next.wait()
            except TimeoutError:
                pass
            if not self._closed:
                yield
