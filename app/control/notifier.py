"""Tells whoever shows the rollout that something may have changed: at once, and once a second anyway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

EVERY_S = 1.0


class Notifier:
    """For any number of listeners. `tell` is cheap: call it from the event loop as often as needed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._closed = False

    def tell(self) -> None:
        """Something may have changed."""
        current, self._next = self._next, asyncio.Event()
        current.set()

    def close(self) -> None:
        """End every listener's stream."""
        self._closed = True
        self.tell()

    async def listen(self) -> AsyncIterator[None]:
        """Yields for every change, and once a second for figures that only grow; ends with `close`."""
        while not self._closed:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._next.wait()
            except TimeoutError:
                pass
            if not self._closed:
                yield
