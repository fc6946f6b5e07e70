"""What an open page hears: the sections that changed, as soon as something changed, and a sign of life every second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from dashboards.base.render import partial
from dashboards.base.source import Source

HEARTBEAT_S = 1.0
"""A page is rendered at least this often, because it counts down; its script calls it stale after five of these."""
SPACING_S = 0.2
"""Ticks that come closer together are shown together."""


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
        await asyncio.sleep(0)  # listen first, then look: no change is missed in between
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
