"""Connections per second when thousands of clients connect at once, compared with one plain backend.

A connection counts once its upgrade was answered; ours has been assigned to a path by then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ops.bench.processes import LoadClient, load_client
from ops.bench.report import Result, compare
from ops.bench.rows import Bench
from ops.bench.servers import Running, backend, crossfade

NAME = "storm"
WHAT = "connections/s, 5,000 at once, against one plain backend"
MUST, AIM = 0.8, 1.2
SOCKETS = 5_000


async def run(bench: Bench) -> AsyncIterator[Result]:
    """Measure ours and the peer in turn, the order reversed every round; the first turn warms up and does not count."""
    rounds: list[tuple[float, float]] = []
    async with crossfade(bench.folder) as ours, backend(bench.folder, "bare-backend") as peer, load_client() as client:
        for turn in range(bench.rounds + 1):
            found = {each.name: await storm(client, each) for each in ((ours, peer) if turn % 2 else (peer, ours))}
            if turn:
                rounds.append((found[ours.name], found[peer.name]))
    yield compare(
        rounds, row=NAME, point=f"{SOCKETS:,} at once", unit="connections/s", peer_name="bare Litestar",
        better="higher", must=MUST, aim=AIM,
    )  # fmt: skip


async def storm(client: LoadClient, server: Running) -> float:
    """Connect all of them, and disconnect."""
    answer = await client.ask("storm", server.name, url=server.url, sockets=SOCKETS)
    await client.ask("close", server.name)
    return answer["per_second"]
