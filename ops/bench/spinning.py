"""What v2's users feel of a v3 that spins: v2's latency in peace and beside a busy loop, in one run.

Whether the spinning v3 would be killed is another question: here its hang limit is out of the way.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from app.loadtest.history import Finished
from app.loadtest.report import quantile_ms
from ops.chaos.client import ChaosClient
from ops.chaos.service import chaos_service

CLIENTS = 200
PER_SECOND = 300
SECONDS = 6.0
NEVER_S = "3600"


class Spinning(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, medians and 99th percentiles of v2's answers to messages without work."""

    messages: int
    p50_peace_ms: float
    p99_peace_ms: float
    p50_spinning_ms: float
    p99_spinning_ms: float

    def words(self) -> str:
        return (
            f"v2 at {PER_SECOND}/s: p99 {self.p99_peace_ms:.1f} ms in peace, {self.p99_spinning_ms:.1f} ms beside a v3 "
            f"that spins (p50 {self.p50_peace_ms:.1f} and {self.p50_spinning_ms:.1f} ms)"
        )


async def measure_spinning(folder: Path) -> Spinning:
    """Peace, then a busy loop for as long."""
    async with chaos_service(folder, hang_v3_s=NEVER_S, unstarted_s=NEVER_S) as service:
        await service.set(50)
        clients = [ChaosClient(service.ws, f"user-{number}") for number in range(CLIENTS)]
        await asyncio.gather(*(client.connect() for client in clients))
        firsts = [client.say("sleep=0") for client in clients]
        await asyncio.gather(*(client.quiet() for client in clients))
        paths = [client.history.paths[first] for client, first in zip(clients, firsts, strict=True)]
        stable = [client for client, path in zip(clients, paths, strict=True) if path == "v2"]
        canary = clients[paths.index("v3")]
        peace = await _latencies(stable)
        canary.say(f"spin={int((SECONDS + 1) * 1000)}")
        await asyncio.sleep(0.3)
        spinning = await _latencies(stable)
        await canary.quiet(60)
        await asyncio.gather(*(client.close() for client in clients))
    return Spinning(
        messages=len(peace),
        p50_peace_ms=quantile_ms(peace, 0.5) or 0.0,
        p99_peace_ms=quantile_ms(peace, 0.99) or 0.0,
        p50_spinning_ms=quantile_ms(spinning, 0.5) or 0.0,
        p99_spinning_ms=quantile_ms(spinning, 0.99) or 0.0,
    )


async def _latencies(clients: list[ChaosClient]) -> list[float]:
    """Sorted seconds from sending to completion, at `PER_SECOND` for `SECONDS`."""
    found: list[float] = []

    def finished(done: Finished) -> None:
        found.append(done.latency_s)

    for client in clients:
        client.on_finished = finished
    began = time.monotonic()
    for count in range(int(PER_SECOND * SECONDS)):
        await asyncio.sleep(began + count / PER_SECOND - time.monotonic())
        clients[count % len(clients)].say("sleep=0")
    await asyncio.gather(*(client.quiet() for client in clients))
    return sorted(found)
