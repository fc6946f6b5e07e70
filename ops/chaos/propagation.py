"""How long after a command somebody is still admitted by the old rule, in any cell: on one host, on two, and on two
that do not get the store's notifications.

Real sockets arrive at all cells meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx

from ops.bench.processes import BenchError
from ops.chaos.arrivals import Arrivals, last_by_old_rule_ms
from ops.chaos.figures import Figure, held, timed
from ops.chaos.fleet import Fleet, fleet, until
from ops.chaos.postgres import running_postgres, standing_still

PROOF = "command"
BEFORE_S = 0.3
AFTER_S = 0.4
"""Seconds of arrivals before a command, and between checks whether every cell admits by the new rule."""
WITHIN_S = 10.0
SECRET = "shared by both hosts"

Disturb = Callable[[], contextlib.AbstractAsyncContextManager[None]]


class Rounds:
    """Commands to one cell after the other, with arrivals at all of them."""

    def __init__(self, hosts: Sequence[Fleet], name: str) -> None:
        self._hosts = hosts
        self._name = name
        self._cells = [(host, cell) for host in hosts for cell in host.names]
        self._number = 0
        self.wrong: list[str] = []
        """What the sockets that arrived meanwhile show."""

    async def measure(self, percentage: int | None, disturb: Disturb = contextlib.nullcontext) -> float:
        """Milliseconds until the last admission by the old rule, in the slowest cell; None: it is a rollback."""
        self._number += 1
        host, cell = self._cells[self._number % len(self._hosts[0].names)]
        await self._stand_at(100 if percentage is None else 100 - percentage)
        arrivals = Arrivals([each.ws for each in self._hosts], f"{self._name}-{self._number}")
        sent_at = 0.0

        def sent() -> None:
            nonlocal sent_at
            sent_at = time.time()

        async with arrivals.coming():
            await asyncio.sleep(BEFORE_S)
            async with disturb():
                if percentage is None:
                    require(await host[cell].command("rollback", before=sent))
                else:
                    await host[cell].set(percentage, before=sent)
                last = await self._last_by_old_rule(sent_at, "v2" if percentage else "v3")
        self.wrong += await arrivals.leave()
        return max(last.values())

    async def _last_by_old_rule(self, sent_at: float, old: str) -> dict[str, float]:
        """The milliseconds of every cell, once every cell has admitted somebody by the new rule."""
        everybody = {cell for _, cell in self._cells}
        missing = everybody
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            await asyncio.sleep(AFTER_S)
            lists = [await host[host.names[0]].sessions() for host in self._hosts]
            last = last_by_old_rule_ms([session for each in lists for session in each], old, sent_at)
            missing = everybody - last.keys()
            if not missing:
                return last
        raise BenchError(f"no admission by the new rule within {WITHIN_S:g} s in {', '.join(sorted(missing))}")

    async def _stand_at(self, percentage: int) -> None:
        """Lift the lock, set this percentage, and wait until all cells have it."""
        host = self._hosts[0]
        desk = host[host.names[0]]
        if (await desk.view()).lock is not None:
            await host.verified(host.names[0])
            require(await desk.command("unlock", (await desk.view()).revision))
        if (await desk.view()).percentage != percentage:
            await desk.set(percentage)

        async def everywhere() -> bool:
            return {(await each[cell].view()).percentage for each, cell in self._cells} == {percentage}

        await until(everywhere, what=f"{percentage} % in all cells")


def require(answer: httpx.Response) -> None:
    """Check the answer. Raises `BenchError` if the command was refused."""
    if answer.status_code != 200:
        raise BenchError(f"{answer.request.url.path}: {answer.text}")


async def on_one_host(folder: Path, rounds: int) -> AsyncIterator[Figure]:
    """Four cells that share a bus."""
    async with fleet(folder / "host", 4) as service:
        run = Rounds([service], "one")
        values = [await run.measure(number % 2 * 100) for number in range(1, rounds + 1)]
        yield timed(PROOF, "`set` on one of 4 cells: last admission by the old rule in any cell", values, "ms", 100, 20)
        values = [await run.measure(None) for _ in range(rounds // 2)]
        yield timed(PROOF, "rollback on one of 4 cells: last admission to v3 in any cell", values, "ms", 100, 20)
        yield held(PROOF, "sockets that arrived meanwhile", "no close, no broken rule", run.wrong, "none closed")


async def on_two_hosts(folder: Path, rounds: int) -> AsyncIterator[Figure]:
    """Two hosts with two cells each, which share only a PostgreSQL: with NOTIFY, and without."""
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres())
        url = await postgres.database()
        hosts = [
            await stack.enter_async_context(fleet(folder / name, 2, store=url, secret=SECRET))
            for name in ("one", "two")
        ]

        @contextlib.asynccontextmanager
        async def cut() -> AsyncIterator[None]:
            for process in await postgres.listeners(url):
                process.terminate()  # type: ignore[no-untyped-call]
            yield

        @contextlib.asynccontextmanager
        async def deaf() -> AsyncIterator[None]:
            with standing_still(await postgres.listeners(url)):
                yield

        run = Rounds(hosts, "two")
        asked = "`set` on one of 2 hosts x 2 cells: last admission by the old rule in any cell"
        values = [await run.measure(number % 2 * 100) for number in range(1, rounds + 1)]
        yield timed(PROOF, f"{asked}, told by NOTIFY", values, "ms", 500, 100)
        values = [await run.measure(number % 2 * 100, cut) for number in range(1, rounds + 1)]
        yield timed(PROOF, "the same, all connections that LISTEN cut just before", values, "ms")
        values = [await run.measure(number % 2 * 100, deaf) for number in range(1, rounds + 1)]
        yield timed(PROOF, "the same, all connections that LISTEN hang: polling", values, "ms")
        yield held(PROOF, "sockets that arrived meanwhile", "no close, no broken rule", run.wrong, "none closed")
