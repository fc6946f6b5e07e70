"""How often the register is read and written, by a clock that passes as fast as the work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from app.control.clock import RolloutClock
from app.control.flag_writer import FlagWriter
from app.control.notifier import Notifier
from app.control.register import SOON_S, Register, RegisterEntry
from app.control.repository import Repository
from app.control.snapshots import Snapshots
from app.control.state import State
from app.control.verification import Verification
from app.control.views import own_figures
from app.errors import StoreUnavailable
from app.flags.embedded import EmbeddedFlags
from app.fleet.bus import CellReport
from app.fleet.members import REGISTER_EVERY_S, SILENT_S, Fleet
from app.metrics.counters import Counters
from app.settings import Settings
from app.store.port import StoredCell, StoredRollback
from app.store.sql import SqlStore, sqlite_store
from rollout.events import Actor, Rollback, Start
from rollout.machine import advance
from rollout.now import Now
from rollout.state import Rollout
from tests.control.memory_cell import GROUP, MemoryCell
from tests.control.virtual_time import VirtualTimeLoop
from tests.control.world import NoGuard
from tests.fleet.memory_bus import MemoryBus

ANN = Actor("ann", "manager")
NOW = Now(1_000_000.0, 60.0)
STARTED = advance(Rollout(), Start(actor=ANN, percentage=100, revision=0), NOW).state
ROLLED_BACK = advance(STARTED, Rollback(actor=ANN, reason="errors"), NOW).state
FAR = "c@far:8000"
ANSWER_S = 0.001
"""A store takes a moment for everything."""
OBSERVE_S = 9.5
"""Seconds of a test: ten turns of once a second, the first one at 0."""


class RegisterStore(SqlStore):
    """The register in memory, with the moments at which it was read, and written by the cell under test."""

    def __init__(self, folder: Path) -> None:
        real = sqlite_store(folder)
        super().__init__(real.engines)
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.down = False
        self._rows: dict[str, tuple[StoredCell, float]] = {}

    async def load_cells(self) -> Sequence[StoredCell]:
        self.reads.append(asyncio.get_running_loop().time())
        now = await self._answer()
        return [replace(cell, silent_s=now - at) for cell, at in self._rows.values()]

    async def save_cell(self, cell: StoredCell) -> None:
        if cell.name != FAR:
            self.writes.append(asyncio.get_running_loop().time())
        self._rows[cell.name] = (cell, await self._answer())

    async def load_rollback(self, id: str | None = None) -> StoredRollback | None:
        return None

    async def _answer(self) -> float:
        await asyncio.sleep(ANSWER_S)
        if self.down:
            raise StoreUnavailable("cut off")
        return asyncio.get_running_loop().time()


class Paced:
    """Cell `a` with `b` on its host and, on another one, a third; the third says what the tests let it say."""

    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        board: dict[str, MemoryBus] = {}
        self.bus = MemoryBus("a", board)
        MemoryBus("b", board)
        self.fleet = Fleet("a", self.bus, loop.time)
        self.store = RegisterStore(folder)
        self.cell = MemoryCell("a", 10)
        self.flags = EmbeddedFlags(GROUP)
        self.observed = asyncio.Event()
        settings, counters, notifier, clock = Settings(), Counters(), Notifier(), RolloutClock(loop.time)
        self.state = State(self.cell, self.flags, settings, lambda: NOW.wall, clock)
        repository = Repository(self.store, clock)
        self.snapshots = Snapshots(
            cell=self.cell,
            fleet=self.fleet,
            state=self.state,
            flag=FlagWriter(self.flags, self.state, settings, lambda: NOW.wall),
            repository=repository,
            counters=counters,
            guard=NoGuard(),
            settings=settings,
            clock=lambda: NOW.wall,
        )
        self.verification = Verification(
            cell=self.cell,
            fleet=self.fleet,
            state=self.state,
            counters=counters,
            repository=repository,
            notifier=notifier,
            observed=self.observed,
        )
        self.register = Register(
            store=self.store,
            host="here",
            fleet=self.fleet,
            repository=repository,
            verification=self.verification,
            snapshots=self.snapshots,
            notifier=notifier,
            settings=settings,
            observed=self.observed,
        )

    async def far_says(self, *, done: bool = False) -> None:
        """The cell of the other host writes its entry."""
        report = CellReport("1-0", 5, 5 if done else 0, 0, 0, done, [], FAR)
        entry = RegisterEntry(own_figures(self.snapshots.take()), report, None)
        await self.store.save_cell(StoredCell(FAR, "far", 1, msgspec.json.encode(entry).decode()))

    async def roll_back(self, *, b_done: bool = True) -> None:
        """A rollback that the other host was given is in force, and complete in this cell."""
        await self.register.load()
        self.state.adopt(STARTED)
        self.state.adopt(ROLLED_BACK)
        sweep = self.state.publish(rollback=True)
        self.verification.begin(ROLLED_BACK, sweep, None, to_move=0, leader=FAR, figures=[])
        self.verification.hear("b", CellReport("1-0", 0, 0, 0, 0, b_done, [], FAR))
        await self.observed.wait()  # it is in force here
        self.observed.clear()
        await self.observed.wait()  # and complete
        self.observed.clear()
        self.store.reads.clear()

    async def run(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """The register goes on for `OBSERVE_S` from 0 on, beside what the test does."""
        begun_at = asyncio.get_running_loop().time()
        tasks = [asyncio.ensure_future(self.register.run()), asyncio.ensure_future(meanwhile())]
        await asyncio.sleep(OBSERVE_S)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
        for moments in (self.store.reads, self.store.writes):
            moments[:] = [moment - begun_at for moment in moments]

    async def speak(self, until_s: float = OBSERVE_S, *, done: bool = False) -> None:
        """The other host writes every 50 ms for so long, as it does while it is swept."""
        for _ in range(round(until_s / SOON_S)):
            await self.far_says(done=done)
            await asyncio.sleep(SOON_S)

    async def nothing(self) -> None:
        """Time passes."""


def with_virtual_time(folder: Path, test: Callable[[Paced], Awaitable[None]]) -> None:
    async def run() -> None:
        paced = Paced(folder)
        try:
            await test(paced)
        finally:
            await paced.verification.stop()
            await paced.flags.close()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


CLOSE_S = 11 * 3 * ANSWER_S
"""What the store takes in all turns together."""
SECONDS = pytest.approx([float(second) for second in range(10)], abs=CLOSE_S)


def test_with_nothing_to_wait_for_it_is_read_and_written_once_a_second(tmp_path: Path) -> None:
    async def test(paced: Paced) -> None:
        await paced.run(paced.speak)
        assert paced.store.reads == SECONDS
        assert paced.store.writes == SECONDS
        assert paced.register.pause_s() == REGISTER_EVERY_S

    with_virtual_time(tmp_path, test)


def test_while_a_rollback_waits_for_a_silent_cell_it_is_read_once_a_second(tmp_path: Path) -> None:
    async def test(paced: Paced) -> None:
        await paced.far_says()
        await asyncio.sleep(60)
        await paced.roll_back()
        assert FAR in paced.verification.waits_for()
        await paced.run(paced.nothing)
        assert paced.store.reads == SECONDS
        assert paced.store.writes == SECONDS

    with_virtual_time(tmp_path, test)


@pytest.mark.parametrize("done", [False, True])
def test_while_it_waits_for_one_that_speaks_it_is_read_every_50_ms_and_written_once_a_second(
    tmp_path: Path, done: bool
) -> None:
    """Also when that cell is done: it was given the command, and what it has added up is waited for."""

    async def test(paced: Paced) -> None:
        await paced.far_says(done=done)
        await paced.roll_back()
        assert paced.verification.waits_for() == {FAR}
        await paced.run(lambda: paced.speak(done=done))
        assert 0.9 < len(paced.store.reads) * SOON_S / OBSERVE_S <= 1
        assert len(paced.store.writes) == pytest.approx(OBSERVE_S, abs=1)

    with_virtual_time(tmp_path, test)


@pytest.mark.parametrize("store_down", [False, True])
def test_when_it_falls_silent_the_register_is_read_once_a_second_again(tmp_path: Path, store_down: bool) -> None:
    async def test(paced: Paced) -> None:
        async def falls_silent() -> None:
            await paced.speak(2.0)
            paced.store.down = store_down

        await paced.far_says()
        await paced.roll_back()
        await paced.run(falls_silent)
        silent_at = 2.0 + SILENT_S + REGISTER_EVERY_S
        heard = [moment for moment in paced.store.reads if moment < silent_at - SOON_S]
        assert len(heard) > 0.8 * silent_at / SOON_S
        silent = [moment for moment in paced.store.writes if moment > silent_at + SOON_S]
        assert OBSERVE_S - silent_at - 1 <= len(silent) <= OBSERVE_S - silent_at
        read = [moment for moment in paced.store.reads if moment > silent_at + SOON_S]
        assert len(read) == (0 if store_down else len(silent))

    with_virtual_time(tmp_path, test)


def test_a_cell_of_the_same_host_hurries_nobody_because_the_bus_is_faster(tmp_path: Path) -> None:
    async def test(paced: Paced) -> None:
        await paced.roll_back(b_done=False)
        assert paced.verification.waits_for() == {"b"}
        await paced.run(paced.nothing)
        assert paced.store.reads == SECONDS

    with_virtual_time(tmp_path, test)


def test_what_this_cell_observes_is_written_at_once(tmp_path: Path) -> None:
    async def test(paced: Paced) -> None:
        async def observe() -> None:
            await asyncio.sleep(3.3)
            paced.observed.set()

        await paced.run(observe)
        expected = [0.0, 1.0, 2.0, 3.0, 3.3, 4.3, 5.3, 6.3, 7.3, 8.3, 9.3]
        assert paced.store.writes == pytest.approx(expected, abs=CLOSE_S)
        assert paced.store.reads == pytest.approx(expected, abs=CLOSE_S)

    with_virtual_time(tmp_path, test)
