"""What remains of 10,000 sessions that are gone: sessions still counted, and memory of gateway and workers.

As many sessions come and go before the first measurement, so that memory which a process keeps for good is there
already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ops.bench.processes import BenchError, LoadClient, load_client, memory_bytes
from ops.bench.report import Result
from ops.bench.rows import Bench
from ops.bench.servers import Running, crossfade

NAME = "disconnects"
WHAT = "sessions and memory left after 10,000 disconnects, against the same service before them"
MUST, AIM = 1.05, 1.05
WAVES, SOCKETS = 2, 5_000
RESUME_S = 1
"""Seconds for which a session is kept for a client that comes back."""
LOOKS = 100
PAUSE_S = 0.2
CALM_S = 3 * RESUME_S


async def run(bench: Bench) -> AsyncIterator[Result]:
    async with crossfade(bench.folder, resume_s=str(RESUME_S)) as ours, load_client() as client:
        before, _ = await waves(client, ours)
        after, left = await waves(client, ours)
    point = f"{WAVES * SOCKETS:,} disconnects"
    yield Result(
        row=NAME, point=point, unit="sessions left", ours=left, peer=None, peer_name="-", ratio=None, better="lower",
        must=0, aim=0, judged="ours",
    )  # fmt: skip
    yield Result(
        row=NAME, point=point, unit="MiB", ours=after / (1 << 20), peer=before / (1 << 20), peer_name="before them",
        ratio=after / before, better="lower", must=MUST, aim=AIM,
    )  # fmt: skip


async def waves(client: LoadClient, server: Running) -> tuple[int, int]:
    """Clients connect, send a message and disconnect; returns memory and sessions that remain."""
    for _ in range(WAVES):
        await client.ask("connect", server.name, url=server.url, sockets=SOCKETS)
        await client.ask("say_once", server.name)
        await client.ask("close", server.name)
        left = await settled(server)
    await asyncio.sleep(CALM_S)
    return memory_bytes(server.process), left


async def settled(server: Running) -> int:
    """The number of sessions, once it does not fall any more. Raises `BenchError`."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        before = -1
        for _ in range(LOOKS):
            text = (await http.get(f"{server.base}/metrics")).text
            left = sum(
                int(sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "crossfade_sessions"
            )
            if left == before:
                return left
            before = left
            await asyncio.sleep(PAUSE_S)
    raise BenchError(f"{server.name}: sessions still end")
