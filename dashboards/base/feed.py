"""What all open pages hear: the newest message about the rollout, made once for everybody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import structlog

from dashboards.base.source import Source
from rollout.views import RolloutView

HEARTBEAT_S = 1.0
"""A message is made at least this often, because pages count down; they call themselves stale after five of these."""
SPACING_S = 0.2
"""Ticks that come closer together are told together."""
log = structlog.get_logger()


class Feed:
    """Keeps one message, the newest: whoever reads slowly misses those in between, and nothing is queued for them.

    It works only while somebody listens.
    """

    def __init__(self, source: Source, message: Callable[[RolloutView], str]) -> None:
        self._source = source
        self._message = message
        self._listeners = 0
        self._maker: asyncio.Task[None] | None = None
        self._newest = ""
        self._number = 0
        self._made = asyncio.Event()

    @property
    def listeners(self) -> int:
        return self._listeners

    async def listen(self) -> AsyncGenerator[str]:
        """Yields the newest message, and each newer one as soon as it is asked for.

        Ends when `Source.changes` ends, or when a message cannot be made, which is logged.
        """
        maker = self._start()
        self._listeners += 1
        seen = 0
        try:
            while not maker.done():
                if self._newest and self._number != seen:
                    seen = self._number
                    yield self._newest
                else:
                    await self._made.wait()
        finally:
            self._listeners -= 1
            if not self._listeners:
                maker.cancel()
                self._forget()

    def _start(self) -> asyncio.Task[None]:
        if self._maker is None:
            self._maker = asyncio.create_task(self._make())
            self._maker.add_done_callback(self._over)
        return self._maker

    def _over(self, maker: asyncio.Task[None]) -> None:
        if not maker.cancelled() and (error := maker.exception()) is not None:
            log.error("the stream of changes failed", exc_info=error)
        if maker is self._maker:
            self._forget()

    def _forget(self) -> None:
        self._maker = None
        self._tell("")

    def _tell(self, message: str) -> None:
        self._newest = message
        self._number += 1
        made, self._made = self._made, asyncio.Event()
        made.set()

    async def _make(self) -> None:
        tick = asyncio.Event()

        async def watch() -> None:
            async for _ in self._source.changes():
                tick.set()

        watcher = asyncio.create_task(watch())
        watcher.add_done_callback(lambda _: tick.set())
        try:
            await asyncio.sleep(0)  # listen first, then look: no change is missed in between
            while True:
                tick.clear()
                self._tell(self._message(await self._source.rollout()))
                await asyncio.sleep(SPACING_S)
                if watcher.done():
                    break
                await _wait(tick, HEARTBEAT_S - SPACING_S)
            await watcher
        finally:
            watcher.cancel()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
