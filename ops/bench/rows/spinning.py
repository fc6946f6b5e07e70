"""What users of v2 notice of a v3 that spins: v2's p99 beside a busy loop in v3's worker, and right before it.

v3's worker has the target's nice level. Its hang limit is raised, because killing a hung worker is measured elsewhere.
The same is reported at nice 0, the default.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from ops.bench.processes import BenchError, LoadClient, load_client
from ops.bench.report import Result, compare
from ops.bench.rows import Bench
from ops.bench.servers import Running, crossfade

NAME = "spinning"
WHAT = "v2's p99 while v3 spins, open loop at 25 % of v2's capacity, nice 10 and 0, against v2 in peace"
MUST, AIM = 1.3, 1.1
NICE = 10
SOCKETS = 64
SHARE = 0.25
"""Share of the capacity, which a closed loop with one message in flight per socket measures first."""
SPIN_S = 10.0
MARGIN_S = 0.5
"""Seconds by which the spinning begins before a slice and ends after it."""
ROUNDS = 3
NEVER_S = "86400"
SPINNER, SPIN = "spinner", "please spin"


async def run(bench: Bench) -> AsyncIterator[Result]:
    """Three rounds of ten seconds each, as the target demands, whatever the rounds and slices of other rows are."""
    for nice in (NICE, 0):
        folder = bench.folder / f"nice-{nice}"
        folder.mkdir()
        fault = {"busy_loop": True, "busy_loop_on": SPIN, "busy_loop_ms": (SPIN_S + 2 * MARGIN_S) * 1000}
        settings = {
            "faults": msgspec.json.encode({"v3": fault}).decode(),
            "worker_nice_v3": str(nice),
            "hang_v3_s": NEVER_S,
            "unstarted_s": NEVER_S,
        }
        async with crossfade(folder, pinned=SPINNER, **settings) as ours, load_client() as client:
            yield await compared(client, ours, nice)


async def compared(client: LoadClient, ours: Running, nice: int) -> Result:
    """Measure without and with spinning in turn."""
    await client.ask("connect", "v2", url=ours.url, sockets=SOCKETS)
    await client.ask("connect", "v3", url=ours.url.replace("{user}", SPINNER), sockets=1)
    await client.ask("drive", "v2", inflight=1, seconds=2.0)  # warms up
    rate = (await client.ask("drive", "v2", inflight=1, seconds=2.0))["messages_per_second"] * SHARE
    rounds = []
    for _ in range(ROUNDS):
        peace = await pace(client, rate, SPIN_S)
        await client.ask("say", "v3", content=SPIN)
        await pace(client, rate, MARGIN_S)
        spinning = await pace(client, rate, SPIN_S)
        if not (await client.ask("quiet", "v3"))["waited"]:
            raise BenchError("v3 did not spin all the time")
        rounds.append((spinning, peace))
    must, aim = (MUST, AIM) if nice else (None, None)
    calmest, wildest = min(peace for _, peace in rounds), max(peace for _, peace in rounds)
    return compare(
        rounds, row=NAME, point=f"nice {nice}, {rate:.0f}/s", unit="ms", peer_name="v2 in peace", better="lower",
        must=must, aim=aim, note=f"in peace {calmest:.2f} to {wildest:.2f} ms",
    )  # fmt: skip


async def pace(client: LoadClient, rate: float, seconds: float) -> float:
    """Run one slice of the open loop on v2; returns its p99 in milliseconds."""
    figures = await client.ask("pace", "v2", per_second=rate, seconds=seconds)
    if figures["errors"] or figures["lost"] or not figures["messages"]:
        raise BenchError(f"v2 at {rate:.0f}/s: {figures}")
    return figures["p99_ms"]
