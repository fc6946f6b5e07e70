"""What an open page hears: the sections that changed, as soon as something changed, and a sign of life every second.

It knows no HTTP; the pages wrap what it yields into server-sent events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from dashboards.controls import PRESETS
from dashboards.ports import Source
from dashboards.render import partial
from rollout.views import Preview

HEARTBEAT_S = 1.0
"""The page counts down, so it is rendered at least so often; the script calls the page stale after five of these."""
SPACING_S = 0.2
"""Ticks that come closer together are shown together."""
PREVIEWS_S = 5.0


async def changed_sections(source: Source, sections: Callable[[], Awaitable[Mapping[str, str]]]) -> AsyncGenerator[str]:
    """Fragments for htmx: first all `sections` (id → markup), then those that changed; empty text is a sign of life.

    Ends when `source.changes()` ends; raises what it or `sections` raises.
    """
    tick = asyncio.Event()

    async def watch() -> None:
        async for _ in source.changes():
            tick.set()

    watcher = asyncio.create_task(watch())
    watcher.add_done_callback(lambda _: tick.set())
    shown: dict[str, str] = {}
    try:
        await asyncio.sleep(0)  # listen first, look then: no change falls between
        while True:
            tick.clear()
            now = await sections()
            yield "".join(partial(name, html) for name, html in now.items() if shown.get(name) != html)
            shown.update(now)
            if watcher.done():
                break
            await asyncio.sleep(SPACING_S)
            await _wait(tick, HEARTBEAT_S - SPACING_S)
            if watcher.done():
                break
        await watcher
    finally:
        watcher.cancel()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


class Previews:
    """Previews of the presets, asked for again after a few seconds or a change, however many pages are open."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: Mapping[int, Preview] = {}
        self._until = 0.0
        self._revision = -1

    async def of(self, source: Source, revision: int) -> Mapping[int, Preview]:
        if self._clock() >= self._until or revision != self._revision:
            self._kept = await source.previews(PRESETS)
            self._until, self._revision = self._clock() + PREVIEWS_S, revision
        return self._kept
