"""A cell that hears neither the store nor the bus for long serves v2, unless its settings say to hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.control.clock import RolloutClock
from app.control.notifier import Notifier
from app.control.partition import CUT_OFF_S, Partition
from app.control.repository import Repository
from app.control.state import State
from app.errors import StoreUnavailable
from app.flags.embedded import EmbeddedFlags
from app.fleet.members import Fleet
from app.settings import Settings
from app.store.sql import SqlStore, sqlite_store
from rollout.state import Rollout
from tests.control.memory_cell import GROUP, MemoryCell
from tests.control.world import FragileStore
from tests.fleet.memory_bus import MemoryBus


class Partitioned:
    """Cell `a` of two, at 100 %, with a clock of its own."""

    def __init__(self, store: FragileStore) -> None:
        self.now = 0.0
        board: dict[str, MemoryBus] = {}
        self.bus = MemoryBus("a", board)
        MemoryBus("b", board)
        self.fleet = Fleet("a", self.bus, lambda: self.now)
        self.cell = MemoryCell("a", 10)
        self.store = store
        self.flags = EmbeddedFlags(GROUP)
        self.clock = RolloutClock()
        self.repository = Repository(store, self.clock)

    def watch(self, settings: Settings) -> Partition:
        self.state = State(self.cell, self.flags, settings, lambda: 0.0, self.clock)
        self.state.adopt(Rollout(phase="completed", percentage=100))
        self.state.publish()
        return Partition(self.fleet, self.state, self.repository, settings, Notifier())

    async def lose_the_store(self) -> None:
        self.store.fail(True)
        with pytest.raises(StoreUnavailable):
            await self.repository.load()

    async def find_the_store(self) -> None:
        self.store.fail(False)
        await self.repository.load()


@pytest_asyncio.fixture
async def a(tmp_path: Path) -> AsyncIterator[Partitioned]:
    real = sqlite_store(tmp_path)
    assert isinstance(real, SqlStore)
    store = FragileStore(real, [])
    await store.open()
    partitioned = Partitioned(store)
    await partitioned.flags.apply(Rollout(phase="completed", percentage=100))
    yield partitioned
    store.fail(False)
    await store.close()
    await partitioned.flags.close()


async def test_cut_off_from_store_and_bus_it_serves_v2_until_it_hears_again(a: Partitioned) -> None:
    partition = a.watch(Settings())
    assert a.cell.on("v3") == 10
    await a.lose_the_store()
    a.now = a.bus.silence_s = CUT_OFF_S - 1
    partition.check()
    assert a.cell.on("v3") == 10
    a.now = a.bus.silence_s = CUT_OFF_S
    partition.check()
    assert a.cell.on("v3") == 0
    assert not a.cell.view.locked
    await a.find_the_store()
    partition.check()
    assert a.cell.on("v3") == 10


async def test_one_that_is_to_hold_goes_on_with_what_it_knew(a: Partitioned) -> None:
    partition = a.watch(Settings(partition="hold"))
    await a.lose_the_store()
    a.now = a.bus.silence_s = CUT_OFF_S + 1
    partition.check()
    assert a.cell.on("v3") == 10


@pytest.mark.parametrize(("store_down", "silence_s"), [(True, 0.0), (False, CUT_OFF_S + 1)])
async def test_store_or_bus_is_enough(a: Partitioned, store_down: bool, silence_s: float) -> None:
    partition = a.watch(Settings())
    if store_down:
        await a.lose_the_store()
    a.now, a.bus.silence_s = CUT_OFF_S + 1, silence_s
    partition.check()
    assert a.cell.on("v3") == 10


async def test_with_cells_on_other_hosts_the_bus_is_not_enough(a: Partitioned) -> None:
    partition = a.watch(Settings())
    a.fleet.elsewhere({"c@far:8000": 0.0})
    await a.lose_the_store()
    a.now = CUT_OFF_S + 1
    partition.check()
    assert a.cell.on("v3") == 0
