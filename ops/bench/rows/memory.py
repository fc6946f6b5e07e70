"""Memory per session: gateway and workers together, compared with one plain backend, and each worker by its own
metrics.

Sizes are proportional set sizes (PSS). A session has had one message and is idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ops.bench.processes import LoadClient, load_client, memory_bytes
from ops.bench.report import Result
from ops.bench.rows import Bench
from ops.bench.servers import Running, backend, crossfade

NAME = "memory"
WHAT = "memory per idle session between 1,000 and more sessions, against one plain backend; each worker's own figures"
MUST, AIM = 1.5, 1.0
FEW, MANY = 1_000, 9_000
"""Sockets of clients and of the backend share one limit of open files: with 20,000 allowed, 9,000 fit."""
WORKERS_AT = 2_000
"""About 1,000 sessions on each path at 50 %."""
GAUGES_S = 7.0
"""A worker's exact size is read every 5 s."""


async def run(bench: Bench) -> AsyncIterator[Result]:
    async with crossfade(bench.folder) as ours, load_client() as client:
        await client.ask("connect", ours.name, url=ours.url, sockets=FEW)
        few = await used_memory(client, ours)
        await client.ask("connect", ours.name, url=ours.url, sockets=WORKERS_AT - FEW)
        await used_memory(client, ours)
        await asyncio.sleep(GAUGES_S)
        workers = await worker_results(ours)
        await client.ask("connect", ours.name, url=ours.url, sockets=MANY - WORKERS_AT)
        ours_bytes = (await used_memory(client, ours) - few) / (MANY - FEW)
    async with backend(bench.folder, "bare-backend") as peer, load_client() as client:
        await client.ask("connect", peer.name, url=peer.url, sockets=FEW)
        few = await used_memory(client, peer)
        await client.ask("connect", peer.name, url=peer.url, sockets=MANY - FEW)
        peer_bytes = (await used_memory(client, peer) - few) / (MANY - FEW)
    yield Result(
        row=NAME,
        point=f"{FEW:,} to {MANY:,} sessions",
        unit="KiB/session",
        ours=ours_bytes / 1024,
        peer=peer_bytes / 1024,
        peer_name="one Litestar backend",
        ratio=ours_bytes / peer_bytes,
        better="lower",
        must=MUST,
        aim=AIM,
        note="gateway and both workers",
    )
    for result in workers:
        yield result


async def used_memory(client: LoadClient, server: Running) -> int:
    """Memory in bytes after one message on every socket."""
    await client.ask("say_once", server.name)
    return memory_bytes(server.process)


async def worker_results(server: Running) -> list[Result]:
    """The memory of each path's worker by `/metrics`; None: not measured yet."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        text = (await http.get(f"{server.base}/metrics")).text
    gauges = {
        (sample.name, sample.labels.get("path", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    lines = []
    for path in ("v2", "v3"):
        sessions = int(gauges.get(("crossfade_sessions", path), 0))
        for metric, unit, size in (
            ("crossfade_path_memory_bytes", "MiB", 1 << 20),
            ("crossfade_session_memory_bytes", "KiB/session", 1 << 10),
        ):
            value = gauges.get((metric, path))
            lines.append(
                Result(
                    row=NAME, point=f"worker {path}, {sessions:,} sessions", unit=unit, peer=None, peer_name="-",
                    ours=None if value is None else value / size, ratio=None, better="lower",
                )
            )  # fmt: skip
    return lines
