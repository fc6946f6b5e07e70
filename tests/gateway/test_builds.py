"""A build beside the one that serves: when it is started, and whose state it has to restore before it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from app.errors import FactoryError, StateIncompatible
from app.gateway.builds import CellBuilds
from app.link.frames import Checked
from app.pool.pools import WorkerPools
from rollout.builds import BuildSource, Served
from rollout.names import PATHS, PathName
from tests.gateway.harness import HandCell

SAMPLE = b'{"notes": 1}'


class Worker:
    """What a build's worker says of itself; one that exports no state can restore none either."""

    alive = True

    def __init__(self, build: str, *, exports_state: bool) -> None:
        self.build = build
        self.exports_state = exports_state
        self.sample = SAMPLE if exports_state else None

    async def check(self, document: bytes) -> Checked:
        return Checked(1, self.exports_state, "" if self.exports_state else "it keeps no state")


class Pool:
    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.spawned: list[Served] = []
        self.stopped: list[str] = []

    async def spawn_candidate(self, served: Served) -> Worker:
        self.spawned.append(served)
        return Worker(served.build or "", exports_state=served.source.factory != "forgetful:create")

    async def stop_worker(self, worker: Worker) -> None:
        self.stopped.append(worker.build)


class Pools:
    """A start ends when the test says so."""

    def __init__(self) -> None:
        self.of: dict[PathName, Pool] = {path: Pool() for path in PATHS}
        self.starting = asyncio.Event()
        self.go = asyncio.Event()

    def __getitem__(self, path: PathName) -> Pool:
        return self.of[path]

    async def start(self, served: Mapping[PathName, Served]) -> None:
        self.starting.set()
        await self.go.wait()
        for path in served:
            self.of[path].worker = Worker("first", exports_state=True)


def builds_of(cell: HandCell) -> tuple[CellBuilds, Pools]:
    pools = Pools()
    return CellBuilds(cast(WorkerPools, pools), cell), pools


async def started(cell: HandCell) -> tuple[CellBuilds, Pools]:
    builds, pools = builds_of(cell)
    pools.go.set()
    await builds.start(dict.fromkeys(PATHS, Served(BuildSource("builtin"))))
    return builds, pools


@pytest.mark.parametrize("begun", [False, True], ids=["before the start", "during the start"])
async def test_a_load_waits_until_the_path_was_started(begun: bool) -> None:
    """Else the worker that was started would serve in place of the one that was loaded after it."""
    builds, pools = builds_of(HandCell())
    starting = asyncio.create_task(builds.start(dict.fromkeys(PATHS, Served(BuildSource("builtin")))))
    if begun:
        await pools.starting.wait()
    preparing = asyncio.create_task(builds.prepare("shop:create", "", "b8"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert pools["v3"].spawned == []
    pools.go.set()
    assert await preparing == "b8"
    assert starting.done()
    assert pools["v3"].spawned == [Served(BuildSource("shop:create"), "b8")]


async def test_a_load_that_waits_for_the_start_can_be_given_up() -> None:
    builds, pools = builds_of(HandCell())
    preparing = asyncio.create_task(builds.prepare("shop:create", "", "b8"))
    await asyncio.sleep(0)
    await builds.abandon()
    with pytest.raises(FactoryError, match="the load was cancelled"):
        await preparing
    assert pools["v3"].spawned == []


async def test_a_build_without_state_is_loaded_where_nobody_is_on_the_path() -> None:
    cell = HandCell(percentage=0)
    cell.connect("u1")
    builds, pools = await started(cell)
    assert await builds.prepare("forgetful:create", "", "b8") == "b8"
    assert pools["v3"].stopped == []


async def test_a_build_without_state_is_refused_while_somebody_is_on_the_path() -> None:
    cell = HandCell(percentage=100)
    cell.connect("u1")
    builds, pools = await started(cell)
    with pytest.raises(StateIncompatible, match="cannot restore the state of v3's sessions: it keeps no state"):
        await builds.prepare("forgetful:create", "", "b8")
    assert pools["v3"].stopped == ["b8"]


async def test_a_build_with_state_has_to_restore_it_also_where_nobody_is() -> None:
    builds, pools = await started(HandCell())

    class Incompatible(Worker):
        async def check(self, document: bytes) -> Checked:
            return Checked(1, False, "no such field: notes")

    async def spawn(served: Served) -> Worker:
        return Incompatible(served.build or "", exports_state=True)

    pools["v3"].spawn_candidate = spawn  # type: ignore[method-assign]
    with pytest.raises(StateIncompatible, match="no such field: notes"):
        await builds.prepare("shop:create", "", "b8")
