"""Signals to every process of a service, in random order: a planned stop is one, and SIGHUP tears nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from app.loadtest.options import LoadOptions
from app.loadtest.report import LoadReport
from app.loadtest.run import LoadTest, Progress
from ops.bench.processes import ROOT, free_port
from ops.chaos.fleet import Fleet, fleet, until
from ops.chaos.kills import look_at
from ops.command import COMMAND, for_command, title_of
from tests.logs import wrong_lines

pytestmark = pytest.mark.slow

SEED = os.environ.get("CROSSFADE_TEST_SEED", "11")
CLIENTS = 40
SLOW = json.dumps({path: {"latency_ms": 300} for path in ("v2", "v3")})
"""So a message runs for every client whenever a signal comes."""
DRAIN_S = "30"
PATIENCE_S = 40.0


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals, chance: random.Random) -> None:
    """To each of them, in random order, as a service manager does."""
    everything = list(processes)
    chance.shuffle(everything)
    for each in everything:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(number)  # type: ignore[no-untyped-call]


async def all_gone(processes: Iterable[psutil.Process]) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, list(processes), PATIENCE_S)
    return not alive


class Load:
    """Clients that always have a message running, and what they saw at the end."""

    def __init__(self, url: str) -> None:
        options = LoadOptions(url=url, clients=CLIENTS, seconds=3600, rate=0, users="load-")
        self._test = LoadTest(options, self._on_progress)
        self._running = asyncio.ensure_future(self._test.run())
        self.now = Progress(0, 0, 0, 0, None, 0, 0)
        self._seen = asyncio.Event()

    def _on_progress(self, now: Progress) -> None:
        self.now = now
        self._seen.set()

    async def finished(self, more: int) -> None:
        """Wait until so many more messages have finished."""
        wanted = self.now.finished + more
        async with asyncio.timeout(PATIENCE_S):
            while self.now.finished < wanted:
                self._seen.clear()
                await self._seen.wait()

    async def report(self) -> LoadReport:
        async with asyncio.timeout(PATIENCE_S):
            return await self._running


@pytest.mark.parametrize(
    ("cells", "before", "number"),
    [(2, [signal.SIGHUP], signal.SIGTERM), (1, [], signal.SIGINT)],
    ids=["cells, SIGHUP, then SIGTERM", "one cell, SIGINT"],
)
async def test_no_message_is_interrupted_and_nothing_counts_as_a_crash(
    tmp_path: Path, cells: int, before: list[signal.Signals], number: signal.Signals
) -> None:
    chance = random.Random(SEED)
    async with fleet(tmp_path, cells, faults=SLOW, shutdown_s=DRAIN_S) as service:
        phase = (await service["a"].set(50)).phase
        load = Load(service.ws)
        await load.finished(CLIENTS)
        everything = service.everything()
        assert len(everything) == 3 * cells + (cells > 1)
        for harmless in before:
            for _ in range(3):
                signal_all(everything, harmless, chance)
            await load.finished(2 * CLIENTS)
            assert (load.now.open_sockets, load.now.drops) == (CLIENTS, 0)
            assert {each.pid for each in service.everything()} == {each.pid for each in everything}
        signal_all(everything, number, chance)
        signal_all(everything, number, chance)  # `timeout` and shells send it to a process and to its group
        report = await load.report()
        assert (report.errors, report.broken_rules, report.drops) == ({}, {}, {1012: CLIENTS})
        assert report.finished == report.accepted
        assert await all_gone(everything)
    left = await look_at(tmp_path)
    assert (left.record.percentage, left.record.phase, left.record.lock, left.lock) == (50, phase, None, None)
    assert wrong_lines(tmp_path / "service.log") == []


async def test_deaths_of_workers_during_a_planned_stop_are_no_crashes(tmp_path: Path) -> None:
    """A service manager that has waited long enough kills what is left, whoever comes first."""
    chance = random.Random(SEED)
    async with fleet(tmp_path, 2, faults=json.dumps({"v3": {"latency_ms": 60_000}}), shutdown_s=DRAIN_S) as service:
        await service["a"].set(100)
        load = Load(service.ws)

        async def all_busy() -> bool:
            return sum(path.sessions for path in (await service["a"].view()).paths if path.path == "v3") == CLIENTS

        await until(all_busy, what="all clients are on v3")
        everything = service.everything()
        workers = [each for each in everything if title_of(each).startswith("crossfade: worker v3 ")]
        assert len(workers) == 2
        service.process.terminate()  # type: ignore[no-untyped-call]
        await until(lambda: listening_ended(service), what="the stop has begun")
        signal_all(workers, signal.SIGKILL, chance)
        await load.report()
        assert await all_gone(everything)
    left = await look_at(tmp_path)
    assert (left.record.percentage, left.record.lock, left.lock) == (100, None, None)


async def listening_ended(service: Fleet) -> bool:
    """No cell accepts a socket any more."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@pytest.mark.parametrize("seen", ["crossfade: parent", "crossfade: worker v2"])
async def test_a_signal_at_any_moment_of_a_start_ends_it_in_order(tmp_path: Path, seen: str) -> None:
    """As soon as there is a process of this kind, all get the signal; those that come later, too."""
    chance = random.Random(f"{SEED}-{seen}")
    log = tmp_path / "service.log"
    settings = {"CROSSFADE_BIND": f"127.0.0.1:{free_port()}", "CROSSFADE_DATA": str(tmp_path / "data")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    with log.open("wb") as output:
        started = await asyncio.create_subprocess_exec(
            *COMMAND, "serve", "--cells", "2", cwd=ROOT, env=for_command({**kept, **settings}),
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    root = psutil.Process(started.pid)  # type: ignore[no-untyped-call]
    everything: set[psutil.Process] = set()

    def look() -> list[str]:
        titles = []
        with contextlib.suppress(psutil.NoSuchProcess):
            found = [root, *root.children(recursive=True)]  # type: ignore[no-untyped-call]
            everything.update(found)
            for each in found:
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    titles.append(title_of(each))
        return titles

    async def there() -> bool:
        return any(title.startswith(seen) for title in look())

    await until(there, PATIENCE_S, seen)
    signal_all(everything, chance.choice([signal.SIGTERM, signal.SIGINT]), chance)
    async with asyncio.timeout(PATIENCE_S):
        while started.returncode is None:
            look()
            signal_all(everything, signal.SIGTERM, chance)
            await asyncio.sleep(0.05)
    assert started.returncode == 0, log.read_text()
    assert await all_gone(everything)
    assert wrong_lines(log) == []
