"""The cell that takes the automatic steps is killed or stopped just before a stage is due: how long until another
one leads, and whether the stage is entered once.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from app.fleet.lease import NAME, TTL_S
from app.store.sql import sqlite_store
from ops.bench.processes import BenchError
from ops.chaos.figures import Figure, held, timed
from ops.chaos.fleet import CellDesk, Fleet, fleet, until
from ops.chaos.kills import look_at
from ops.chaos.propagation import require

PROOF = "leader gone"
BAKE_S = 2.0
PLAN = f"""
name = "succession"
[[stage]]
percentage = 10
bake = "{BAKE_S:g}s"
advance = "automatic"
guardrails = []
[[stage]]
percentage = 30
bake = "7d"
guardrails = []
"""


async def take_over(folder: Path, rounds: int) -> AsyncIterator[Figure]:
    """Number of rounds of both kinds, on one service of three cells."""
    async with fleet(folder, 3) as service:
        desk = service[service.names[0]]
        revision = (await desk.view()).revision
        require(await desk.command("plan", revision, method="PUT", body={"toml": PLAN}))
        for way, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
            led_after, late, wrong = [], [], []
            for _ in range(rounds):
                led_s, late_s, found = await once(service, folder, number)
                led_after.append(led_s)
                late.append(late_s)
                wrong += found
            yield timed(PROOF, f"{way}: another cell leads after", led_after, "s", 5)
            yield timed(PROOF, f"{way}: the stage that was due meanwhile is entered so late", late, "s")
            yield held(PROOF, f"{way}: and it is entered", "once each time", wrong, "exactly once")


async def once(service: Fleet, folder: Path, number: signal.Signals) -> tuple[float, float, list[str]]:
    """Seconds until another cell leads, seconds that the stage was late, and what was wrong."""
    first = await until(lambda: leader(folder), what="somebody leads")
    cell, _, _ = first.partition("/")
    desk = service[next(name for name in service.names if name != cell)]
    await back_to_idle(service, desk)
    before = len((await look_at(folder)).audit)
    require(await desk.command("start", (await desk.view()).revision))
    due = (await desk.view()).next_at
    if due is None:
        raise BenchError("no stage is due by itself")
    await until(lambda: renewed_lately(due), what="the stage is nearly due")
    service.signal(cell, number)
    began = time.monotonic()
    try:

        async def another() -> bool:
            return await leader(folder) not in ("", first)

        await until(another, what="another cell leads")
        led_s = time.monotonic() - began

        async def entered() -> bool:
            return (await desk.view()).percentage == 30

        await until(entered, what="the stage is entered")
        late_s = time.time() - due
    finally:
        if number == signal.SIGSTOP:
            service.signal(cell, signal.SIGCONT)
    await service.complete()
    await asyncio.sleep(TTL_S)  # a cell that wrongly believed to lead would have done it by then
    steps = [entry.what for entry in (await look_at(folder)).audit[before:]]
    wrong = [] if steps == ["start 10 %", "promote to 30 %"] else [f"audit: {steps}"]
    return led_s, late_s, wrong


async def renewed_lately(due: float) -> bool:
    """Whether a leader that fails now leaves the stage to its successor: it is due before the lease can expire."""
    return time.time() > due - BAKE_S / 4


async def back_to_idle(service: Fleet, desk: CellDesk) -> None:
    """Return to idle by a rollback and an unlock."""
    view = await desk.view()
    if view.phase == "idle":
        return
    require(await desk.command("rollback"))
    await service.verified(desk.cell)
    require(await desk.command("unlock", (await desk.view()).revision))


async def leader(folder: Path) -> str:
    """The cell that holds the lease, with the mark of its process; empty: nobody."""
    store = sqlite_store(folder / "data")
    await store.open()
    try:
        return await store.load_lease(NAME) or ""
    finally:
        await store.close()
