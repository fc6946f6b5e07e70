"""Messages per second, p99 and processor time per message, compared with nginx `split_clients` in front of two Litestar
backends that send the same three events.

All sockets to all servers stay open; each slice drives one server and is followed at once by a slice of the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import psutil

from ops.bench.processes import BenchError, LoadClient, cpu_s, load_client
from ops.bench.report import Result, compare
from ops.bench.rows import Bench
from ops.bench.servers import Running, crossfade, nginx_split

NAME = "throughput"
WHAT = "messages/s and p99 at 64 x 1, 64 x 8 and 1000 x 1, three events a message, against nginx and two backends"


class Point(NamedTuple):
    sockets: int
    inflight: int
    must: float
    aim: float


POINTS = (Point(64, 1, 1.0, 1.4), Point(64, 8, 0.9, 1.2), Point(1000, 1, 1.3, 1.8))
P99_MUST, P99_AIM = 1.0, 0.6
FRONT, BEHIND, BOTH = "gateway | nginx", "workers | backends", "all processes"
OURS, PEER, PEER_ONE = "crossfade", "nginx + 2 backends", "the same, one event"


async def run(bench: Bench) -> AsyncIterator[Result]:
    """At least five slices per point and server."""
    async with crossfade(bench.folder, cells=str(bench.cells)) as ours, nginx_split(bench.folder) as peer:
        urls = {OURS: ours.url, PEER: peer.url, PEER_ONE: f"{peer.url}&events=1"}
        of_peer = Cost(peer)
        costs = {OURS: Cost(ours), PEER: of_peer, PEER_ONE: of_peer}
        for point in POINTS:
            async with load_client() as client:
                for name, url in urls.items():
                    await client.ask("connect", name, url=url, sockets=point.sockets)
                slices = await alternate(client, bench, point, costs)
            for result in results(point, slices, bench.cells):
                yield result


class Cost:
    """Processor time of a server's processes: `front` holds the clients' sockets, `behind` answers."""

    def __init__(self, server: Running) -> None:
        children: list[psutil.Process] = server.process.children(recursive=True)  # type: ignore[no-untyped-call]
        # nginx serves in children of its own; ours runs the paths in those that have none themselves.
        leaves = [child for child in children if not child.children()]  # type: ignore[no-untyped-call]
        self._behind = list(server.workers) or leaves
        self._front = [each for each in (server.process, *children) if each not in self._behind]

    def so_far_s(self) -> dict[str, float]:
        """Processor seconds so far."""
        return {FRONT: sum(map(cpu_s, self._front)), BEHIND: sum(map(cpu_s, self._behind))}


async def alternate(
    client: LoadClient, bench: Bench, point: Point, costs: dict[str, Cost]
) -> dict[str, list[dict[str, float]]]:
    """Measure all servers in turn, the order reversed every round; the first turn warms up and does not count."""
    names = list(costs)
    slices: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(bench.rounds + 1):
        for name in names if turn % 2 else reversed(names):
            before = costs[name].so_far_s()
            figures = await client.ask("drive", name, inflight=point.inflight, seconds=bench.slice_s)
            after = costs[name].so_far_s()
            for part, seconds in after.items():
                figures[part] = (seconds - before[part]) * 1e6 / max(figures["answered"], 1)
            figures[BOTH] = figures[FRONT] + figures[BEHIND]
            if figures["errors"] or figures["lost"] or not figures["messages"]:
                raise BenchError(f"{name} at {point.sockets} x {point.inflight}: {figures}")
            if turn:
                slices[name].append(figures)
    return slices


def results(point: Point, slices: dict[str, list[dict[str, float]]], cells: int = 1) -> list[Result]:
    """Five lines against the peer with three events, one against the peer with one."""
    where = f"{point.sockets} x {point.inflight}"
    cpu = max(figures["client_cpu"] for each in slices.values() for figures in each)
    note = f"cells: {cells}; client at most {cpu * 100:.0f} % of a core"

    def pairs(peer: str, figure: str) -> list[tuple[float, float]]:
        return [(a[figure], b[figure]) for a, b in zip(slices[OURS], slices[peer], strict=True)]

    return [
        compare(
            pairs(PEER, "messages_per_second"), row=NAME, point=where, unit="messages/s", peer_name=PEER,
            better="higher", must=point.must, aim=point.aim, note=note,
        ),
        compare(
            pairs(PEER, "p99_ms"), row="p99", point=where, unit="ms", peer_name=PEER, better="lower",
            must=P99_MUST, aim=P99_AIM,
        ),
        compare(
            pairs(PEER_ONE, "messages_per_second"), row=NAME, point=where, unit="messages/s", peer_name=PEER_ONE,
            better="higher",
        ),
        *(
            compare(
                pairs(PEER, part), row="cpu", point=where, unit="µs/message", peer_name=PEER, better="lower", note=part
            )
            for part in (BOTH, FRONT, BEHIND)
        ),
    ]  # fmt: skip
