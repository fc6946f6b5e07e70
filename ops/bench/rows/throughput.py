"""Messages a second and p99, against nginx `split_clients` before two Litestar backends with the same three events.

All sockets to all servers stay open; a slice drives one server and is followed at once by the slice of the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from ops.bench.processes import BenchError, LoadClient, load_client
from ops.bench.report import Result, compare
from ops.bench.rows import Bench
from ops.bench.servers import crossfade, nginx_split

NAME = "throughput"
WHAT = "messages/s and p99 at 64 x 1, 64 x 8 and 1000 x 1, three events a message, against nginx and two backends"


class Point(NamedTuple):
    sockets: int
    inflight: int
    must: float
    aim: float


POINTS = (Point(64, 1, 1.0, 1.4), Point(64, 8, 0.9, 1.2), Point(1000, 1, 1.3, 1.8))
P99_MUST, P99_AIM = 1.0, 0.6
OURS, PEER, PEER_ONE = "crossfade", "nginx + 2 backends", "the same, one event"


async def run(bench: Bench) -> AsyncIterator[Result]:
    """Five slices or more a point and server."""
    async with crossfade(bench.folder) as ours, nginx_split(bench.folder) as peer:
        urls = {OURS: ours.url, PEER: peer.url, PEER_ONE: f"{peer.url}&events=1"}
        for point in POINTS:
            async with load_client() as client:
                for name, url in urls.items():
                    await client.ask("connect", name, url=url, sockets=point.sockets)
                slices = await alternate(client, bench, point, list(urls))
            for result in results(point, slices):
                yield result


async def alternate(
    client: LoadClient, bench: Bench, point: Point, names: list[str]
) -> dict[str, list[dict[str, float]]]:
    """All servers in turn, the order reversed every round; the first, unmeasured turn warms up."""
    slices: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(bench.rounds + 1):
        for name in names if turn % 2 else reversed(names):
            figures = await client.ask("drive", name, inflight=point.inflight, seconds=bench.slice_s)
            if figures["errors"] or figures["lost"] or not figures["messages"]:
                raise BenchError(f"{name} at {point.sockets} x {point.inflight}: {figures}")
            if turn:
                slices[name].append(figures)
    return slices


def results(point: Point, slices: dict[str, list[dict[str, float]]]) -> list[Result]:
    """Two lines against the peer with three events, one against the peer with one."""
    where = f"{point.sockets} x {point.inflight}"
    cpu = max(figures["client_cpu"] for each in slices.values() for figures in each)
    note = f"client at most {cpu * 100:.0f} % of a core"

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
    ]  # fmt: skip
