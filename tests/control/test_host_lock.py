"""The lock file behind a disk that fails, hangs, or is written by other cells: nobody waits for it for long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from app.control.host_lock import HostLock, Wanted
from app.control.lockfile import UNKNOWN, LockFile
from app.control.lookout import BusLookout
from app.fleet.bus import BusMessage, Locked
from rollout.events import Actor, Rollback, SetPercentage, Start
from rollout.state import Lock
from tests.control.world import World
from tests.fleet.memory_bus import MemoryBus

ANN = Actor("ann", "manager")
MINE = Lock(1, 0, 1.0, "ann", True, "errors")
OTHERS = Lock(1, 0, 2.0, "bob", True, "slow")
LIMIT_S = 0.05


class HangingFile(LockFile):
    """Every call that writes waits until the test lets it go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.go_on = threading.Event()
        self.hangs = False
        self.calls = 0

    def write(self, lock: Lock) -> None:
        self._wait()
        super().write(lock)

    def lift(self, generation: int, known: Collection[Lock]) -> None:
        self._wait()
        super().lift(generation, known)

    def read(self) -> Lock | None:
        self._wait()
        return super().read()

    def _wait(self) -> None:
        self.calls += 1
        if self.hangs:
            self.go_on.wait(30)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[HangingFile]:
    file = HangingFile(tmp_path)
    yield file
    file.go_on.set()


def locked(lock: Lock | None) -> Wanted:
    """What is in force: this lock of generation 0, or none any more."""
    return Wanted(lock, 0 if lock else 1)


async def test_a_write_to_a_disk_that_hangs_ends_and_is_tried_again(file: HangingFile) -> None:
    disk = HostLock(file, LIMIT_S)
    file.hangs = True
    async with asyncio.timeout(5), disk.turn:
        await disk.write(MINE)
    assert not disk.agrees(MINE)
    file.hangs = False
    file.go_on.set()
    async with asyncio.timeout(5):
        while not disk.agrees(MINE):
            await disk.settle(lambda: locked(MINE))
            await asyncio.sleep(0)  # the thread's answer comes in a turn of the loop
    assert LockFile(file.path.parent).read() == MINE


async def test_while_a_call_hangs_no_other_waits_behind_it(file: HangingFile) -> None:
    disk = HostLock(file, LIMIT_S)
    file.hangs = True
    async with disk.turn:
        await disk.write(MINE)
    calls = file.calls
    for _ in range(100):  # a hundred limits would be five seconds
        async with asyncio.timeout(5), disk.turn:
            await disk.write(OTHERS)
    assert file.calls == calls
    assert disk.of_others() is None  # nor is the loop's own look at the file held up


async def test_a_lock_that_could_not_be_lifted_is_lifted_later(file: HangingFile) -> None:
    disk = HostLock(file, LIMIT_S)
    async with disk.turn:
        await disk.write(MINE)
    file.hangs = True
    await disk.settle(lambda: locked(None))
    assert not disk.agrees(None)
    file.hangs = False
    file.go_on.set()
    async with asyncio.timeout(5):
        while not disk.agrees(None):
            await disk.settle(lambda: locked(None))
            await asyncio.sleep(0)
    assert LockFile(file.path.parent).read() is None


async def test_a_disk_that_does_not_answer_at_the_start_counts_as_a_lock(
    file: HangingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.control.host_lock.START_S", LIMIT_S)
    file.hangs = True
    async with asyncio.timeout(5):
        found = await HostLock(file, LIMIT_S).find()
    assert found is not None
    assert found.generation == UNKNOWN
    assert "does not answer" in found.reason


async def test_what_another_cell_left_is_found_once_and_ones_own_never(file: HangingFile, tmp_path: Path) -> None:
    disk, elsewhere = HostLock(file), LockFile(tmp_path)
    async with disk.turn:
        await disk.write(MINE)
    assert disk.of_others() is None
    elsewhere.write(OTHERS)
    assert disk.of_others() == OTHERS
    assert disk.of_others() is None
    elsewhere.write(MINE)
    assert disk.of_others() is None


async def test_the_lookout_hands_what_it_finds_to_whoever_hears_the_bus(file: HangingFile, tmp_path: Path) -> None:
    heard: list[tuple[str, BusMessage]] = []

    class Listener:
        def hear(self, sender: str, message: BusMessage) -> None:
            heard.append((sender, message))

        def present(self) -> None:
            """Nobody comes or goes."""

    board: dict[str, MemoryBus] = {}
    bus, other = MemoryBus("a", board), MemoryBus("b", board)
    bus.open(Listener())
    lookout = BusLookout(bus, HostLock(file))
    lookout.look()
    assert heard == []
    other.tell(Locked(MINE))
    LockFile(tmp_path).write(OTHERS)
    lookout.look()
    assert heard == [("b", Locked(MINE)), ("", Locked(OTHERS))]


async def test_a_lock_heard_of_while_the_record_is_not_read_yet_waits_for_it(tmp_path: Path) -> None:
    """A cell that starts serves v2 at once, and takes the lock for one of the record that it has yet to read."""
    board: dict[str, MemoryBus] = {}
    first = await World.make(tmp_path, bus=MemoryBus("a", board))
    await first.control.execute(Start(actor=ANN, percentage=50, revision=0), "cli")
    await first.control.execute(SetPercentage(actor=ANN, percentage=80, revision=1), "cli")
    second = await World.make(tmp_path, "b", bus=MemoryBus("b", board), store_down=True)
    views = [second.cell.view.locked]
    first.store.fail(True)
    await first.control.execute(Rollback(actor=ANN, reason="errors"), "cli")
    for _ in range(2):  # heard, and then heard again
        second.lookout.look()
        views.append(second.cell.view.locked)
        lock = first.control.record.lock
        assert lock is not None
        board["b"].hear("a", Locked(lock))
    assert views == [False, True, True]
    assert second.control.record.revision == 1  # of an empty record: no other is known
    second.store.fail(False)
    first.lock_file.remove()
    await second.control.loop.tick()
    stored = await second.stored()
    assert (stored.phase, stored.revision, stored.percentage, stored.reason) == ("rolled_back", 3, 0, "errors")
    assert stored.last_rollback is not None
    assert stored.last_rollback.place.percentage == 80
    for world in (first, second):
        await world.abandon()


async def test_a_lock_made_while_the_last_one_waits_to_be_lifted_stays(file: HangingFile) -> None:
    disk, record = HostLock(file), locked(None)
    async with disk.turn:
        await disk.write(MINE)
    async with disk.turn:
        lifting = asyncio.create_task(disk.settle(lambda: record))
        await asyncio.sleep(0)  # it waits for its turn
        await disk.write(OTHERS)
        record = locked(OTHERS)
    await lifting
    assert LockFile(file.path.parent).read() == OTHERS
    assert disk.agrees(OTHERS)
