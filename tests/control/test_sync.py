"""Two and three cells within one process: what each makes of what the others say, in any order and with losses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from app.control import rollback
from app.control.lockfile import LockFile
from app.control.record import write_record
from app.control.views import rollout_view
from app.fleet.bus import Changed
from app.metrics.crashes import Crashes
from rollout.errors import StaleRevision
from rollout.events import Actor, Rollback, SetPercentage, Start, Unlock
from rollout.state import Lock
from tests.control.world import World
from tests.fleet.memory_bus import MemoryBus, deliver

ANN, BOB = Actor("ann", "manager"), Actor("bob", "oncall")
NAMES = ("a", "b", "c")


class Host:
    """Three cells on one data folder; their bus is delivered when the test says so."""

    def __init__(self) -> None:
        self.board: dict[str, MemoryBus] = {}
        self.worlds: dict[str, World] = {}
        self.crashes: dict[str, Crashes] = {}
        self._talking: dict[str, asyncio.Task[None]] = {}

    async def open(self, folder: Path, name: str) -> World:
        self.crashes[name] = Crashes()
        bus = MemoryBus(name, self.board)
        world = self.worlds[name] = await World.make(folder, name, bus=bus, guard=self.crashes[name])
        self._talking[name] = asyncio.create_task(world.control.sync.run())
        return world

    async def end(self, name: str) -> None:
        """Its process is gone."""
        self.board[name].leave()
        task = self._talking.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.worlds.pop(name).abandon()

    async def close(self) -> None:
        for name in list(self.worlds):
            await self.end(name)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                deliver(self.board)
                await asyncio.sleep(0)

    async def followed(self, name: str) -> None:
        """Wait until this cell has dealt with what it heard."""
        control = self[name].control
        await self.until(lambda: not control.sync.has_news and not control.repository.turn.locked())

    def __getitem__(self, name: str) -> World:
        return self.worlds[name]

    async def started(self, percentage: int = 100) -> None:
        await self["a"].control.execute(Start(actor=ANN, percentage=percentage, revision=0), "cli")
        await self.until(lambda: all(world.control.record.revision == 1 for world in self.worlds.values()))


@pytest_asyncio.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host()
    for name in NAMES:
        await host.open(tmp_path, name)
    yield host
    await host.close()


def verified(world: World) -> bool:
    rollback = world.control.snapshot().rollback
    return rollback is not None and rollback.verified_at is not None


def moved(world: World) -> int:
    rollback = world.control.snapshot().rollback
    return -1 if rollback is None else rollback.sessions_moved


def on_v3(host: Host) -> list[int]:
    return [host[name].cell.on("v3") for name in NAMES]


async def test_a_record_saved_by_one_is_in_force_in_all(host: Host) -> None:
    await host.started(30)
    assert len(set(on_v3(host))) == 1
    assert host["c"].cell.on("v3") > 0
    assert {host[name].flags.percentage() for name in NAMES} == {30}


async def test_lower_revisions_are_ignored(host: Host) -> None:
    await host.started(30)
    old = write_record(host["a"].control.record)
    await host["a"].control.execute(SetPercentage(actor=ANN, percentage=60, revision=1), "cli")
    await host.until(lambda: host["b"].control.record.percentage == 60)
    sweeps = len(host["b"].cell.applied)
    host.board["b"].hear("a", Changed(old.revision, old.text))
    await host.followed("b")
    assert (host["b"].control.record.percentage, len(host["b"].cell.applied)) == (60, sweeps)


async def test_a_cell_that_has_not_heard_yet_looks_before_it_refuses(host: Host) -> None:
    await host.started(30)
    host.board["b"].stopped = True
    await host["a"].control.execute(SetPercentage(actor=ANN, percentage=40, revision=1), "cli")
    await host["b"].control.execute(SetPercentage(actor=ANN, percentage=50, revision=2), "cli")
    assert host["b"].control.record.revision == 3
    with pytest.raises(StaleRevision, match="set 50 %"):
        await host["a"].control.execute(SetPercentage(actor=ANN, percentage=60, revision=2), "cli")


async def test_a_rollback_is_in_force_where_it_was_heard_before_any_store(host: Host) -> None:
    await host.started()
    for world in host.worlds.values():
        world.store.fail(True)
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    deliver(host.board)
    assert on_v3(host) == [0, 0, 0]
    assert all(world.cell.view.locked for world in host.worlds.values())
    await host.until(lambda: verified(host["a"]))
    done = host["a"].control.snapshot().rollback
    assert done is not None
    assert (done.cells, done.silent_cells) == (list(NAMES), [])
    for world in host.worlds.values():
        world.store.fail(False)
        await world.control.loop.tick()
    assert {world.control.record for world in host.worlds.values()} == {await host["a"].stored()}
    entries = (await host["a"].control.repository.events()).items
    assert [entry.what for entry in entries if entry.what == "rollback"] == ["rollback"]


async def test_a_cell_that_is_not_heard_keeps_a_rollback_unverified(host: Host) -> None:
    await host.started()
    host["c"].control.sync.say()
    deliver(host.board)
    host.board["c"].stopped = True
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await host.until(lambda: on_v3(host)[:2] == [0, 0])
    for name in ("a", "b"):
        view = rollout_view(host[name].control.snapshot())
        assert view.last_rollback is not None
        assert view.last_rollback.verified_at is None
        assert (view.last_rollback.cells, view.last_rollback.silent_cells) == (["a", "b"], ["c"])
        everybody = len(host["a"].users)
        assert view.last_rollback.sessions_to_move == 3 * everybody  # those that c reported last are among them
        await host.until(lambda: moved(host[name]) == 2 * everybody)  # noqa: B023 - awaited in this turn
    host.board["c"].stopped = False
    await host.until(lambda: verified(host["b"]))
    done = host["b"].control.snapshot().rollback
    assert done == host["a"].control.snapshot().rollback
    assert done is not None
    assert done.sessions_moved == done.sessions_to_move == 3 * len(host["a"].users)


async def test_a_receipt_has_the_errors_of_all_cells(host: Host) -> None:
    await host.started()
    host["b"].counters.error("v3", "internal", "only here", "r1", "u1", now=1.0)
    host["c"].counters.error("v3", "internal", "only here", "r4", "u1", now=2.0)
    host["c"].counters.error("v3", "internal", "on both", "r2", "u2", now=1.0)
    host["a"].counters.error("v2", "internal", "on both", "r3", "u3", now=1.0)
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await host.until(lambda: verified(host["b"]))
    for name in NAMES:
        receipt = await host[name].control.receipt("1-0")
        assert receipt is not None
        assert [(group.fingerprint, group.count) for group in receipt.errors_only_on_v3] == [("only here", 2)]
        assert receipt.users_harmed == 2  # u1 in b and in c, and u2


async def test_a_receipt_and_the_audit_have_the_figures_from_before_the_sweep(host: Host) -> None:
    await host.started()
    for name in NAMES:
        host[name].control.sync.say()
    deliver(host.board)
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await host.until(lambda: verified(host["b"]))
    receipt = await host["c"].control.receipt("1-0")
    assert receipt is not None
    everybody = len(host["a"].users)  # the same in all three cells
    assert [(path.sessions, path.users) for path in receipt.figures] == [(0, 0), (3 * everybody, everybody)]
    entry = (await host["a"].control.repository.events()).items[0]
    assert (entry.what, entry.figures["v3"]["sessions"]) == ("rollback", 3 * everybody)  # type: ignore[index]


async def test_deaths_of_v3s_workers_add_up_over_the_cells(host: Host) -> None:
    await host.started()
    for name in ("b", "c"):
        host.crashes[name].died()
        host[name].control.sync.say()
    assert host["a"].control.record.phase == "progressing"
    deliver(host.board)
    assert host["a"].wakeup.is_set()
    await host["a"].control.loop.tick()
    await host.until(lambda: on_v3(host) == [0, 0, 0])
    assert (host["a"].control.record.phase, host["a"].control.record.reason) == ("rolled_back", "harm shown by crashes")


async def test_what_another_cell_found_under_an_earlier_record_harms_nobody(host: Host) -> None:
    await host.started()
    host.crashes["b"].died()
    host.crashes["b"].died()
    host["b"].control.sync.say()
    await host["a"].control.execute(SetPercentage(actor=ANN, percentage=60, revision=1), "cli")
    host.board["a"].read()  # b speaks of revision 1
    await host["a"].control.loop.tick()
    assert host["a"].control.record.phase == "paused"


async def test_lifting_a_lock_forgets_the_deaths_in_all_cells(host: Host) -> None:
    await host.started()
    host.crashes["b"].died()
    await host["a"].control.execute(Rollback(actor=BOB), "page")
    await host.until(lambda: verified(host["a"]) and host["b"].control.record.revision == 2)
    await host["a"].control.execute(Unlock(actor=ANN, reason="ok", revision=2, flag_percentage=None), "cli")
    await host.until(lambda: host["b"].control.record.phase == "idle")
    await host.until(lambda: [verdict.evidence for verdict in host.crashes["b"].verdicts()] == [0.0])


async def test_whoever_only_heard_of_a_rollback_leaves_saving_it_to_the_cell_that_was_given_it(host: Host) -> None:
    await host.started()
    host["a"].store.pause()
    ordered = asyncio.create_task(host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page"))
    await host.until(lambda: on_v3(host) == [0, 0, 0])
    await host["b"].control.loop.tick()
    stored = await host["b"].stored()
    host["a"].store.go_on()
    await ordered
    assert stored.phase == "progressing"
    for world in host.worlds.values():
        await world.control.loop.tick()
    entries = (await host["a"].control.repository.events()).items
    assert [(entry.what, entry.source) for entry in entries] == [("rollback", "page"), ("start 100 %", "cli")]


async def test_a_rollback_given_to_a_cell_that_only_heard_of_one_that_was_lifted_is_in_force(host: Host) -> None:
    await host.started()
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    lock = host["a"].control.record.lock
    assert lock is not None
    host.board["b"].read()
    await host["a"].control.execute(Unlock(actor=ANN, reason="ok", revision=2, flag_percentage=None), "cli")
    host.board["b"].waiting.clear()  # b has not heard of that
    assert host["b"].control.record.phase == "rolled_back"
    await host["b"].control.execute(Rollback(actor=ANN, reason="again"), "cli")
    stored = await host["b"].stored()
    assert (stored.phase, stored.reason, stored.revision) == ("rolled_back", "again", 4)
    for world in host.worlds.values():
        await world.control.loop.tick()
    assert {world.control.record for world in host.worlds.values()} == {stored}
    entries = (await host["a"].control.repository.events()).items
    assert [(entry.what, entry.reason) for entry in entries[:3]] == [
        ("rollback", "again"),
        ("unlock", "ok"),
        ("rollback", "errors"),
    ]


async def test_when_the_cell_that_was_given_a_rollback_does_not_save_it_another_does(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "MAKER_S", 0.0)
    await host.started()
    host["a"].store.fail(True)
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    deliver(host.board)
    await host["b"].control.loop.tick()
    assert (await host["b"].stored()).phase == "rolled_back"


async def test_a_rollback_given_while_one_that_was_only_heard_of_is_being_saved_is_audited_too(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "MAKER_S", 0.0)
    await host.started()
    host["a"].store.fail(True)
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    deliver(host.board)
    host["b"].store.pause()
    saving = asyncio.create_task(host["b"].control.loop.tick())
    await host["b"].store.waiting()  # what a has ordered is about to be saved by b
    ordered = asyncio.create_task(host["b"].control.execute(Rollback(actor=ANN, reason="me too"), "cli"))
    await host.until(lambda: host["b"].log.count("lock on disk") == 1)
    host["b"].store.go_on()
    await asyncio.gather(saving, ordered)
    await host["b"].control.loop.tick()
    entries = (await host["b"].control.repository.events()).items
    assert {(entry.what, entry.who, entry.reason) for entry in entries[:2]} == {
        ("rollback", "bob", "errors"),
        ("rollback (already in force)", "ann", "me too"),
    }
    assert (await host["b"].stored()).lock is not None


async def test_the_audit_of_a_rollback_over_a_change_says_what_it_was_before(host: Host) -> None:
    await host.started(60)
    host["b"].store.pause()
    setting = asyncio.create_task(host["b"].control.execute(SetPercentage(actor=ANN, percentage=30, revision=1), "cli"))
    await host["b"].store.waiting()
    ordered = asyncio.create_task(host["b"].control.execute(Rollback(actor=BOB, reason="errors"), "page"))
    await host.until(lambda: host["b"].cell.on("v3") == 0)
    host["b"].store.go_on()
    await setting  # saved, so it is not refused
    await ordered
    await host.until(lambda: verified(host["b"]))
    last, before, _ = (await host["b"].control.repository.events()).items
    assert (last.what, before.what) == ("rollback", "set 30 %")
    assert last.before == before.after
    done = host["b"].control.snapshot().rollback
    assert done is not None
    receipt = await host["b"].control.receipt(done.id)
    assert receipt is not None
    assert receipt.from_percentage == 30


async def test_a_busy_session_in_another_cell_keeps_a_rollback_unverified(host: Host) -> None:
    await host.started()
    host["b"].cell.members[0].busy = True
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await host.until(lambda: on_v3(host) == [0, 1, 0])
    view = rollout_view(host["c"].control.snapshot())
    assert view.last_rollback is not None
    assert (view.last_rollback.verified_at, view.last_rollback.cells) == (None, list(NAMES))
    host["b"].control.sync.say()
    deliver(host.board)
    everybody = 3 * len(host["a"].users)
    for name in NAMES:
        moving = host[name].control.snapshot().rollback
        assert moving is not None
        assert (moving.sessions_moved, moving.sessions_to_move) == (everybody - 1, everybody)
    host["b"].cell.finish()
    await host.until(lambda: verified(host["c"]))


async def test_a_cell_that_is_gone_is_not_waited_for(host: Host) -> None:
    await host.started()
    host.board["c"].stopped = True
    host["a"].cell.members[0].busy = True
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await host.until(lambda: on_v3(host)[:2] == [1, 0])
    await host.until(lambda: moved(host["a"]) == 2 * len(host["a"].users) - 1)
    await host.end("c")
    await host.end("b")
    host["a"].cell.finish()
    await host.until(lambda: verified(host["a"]))
    done = host["a"].control.snapshot().rollback
    assert done is not None
    assert (done.cells, done.sessions_to_move) == (["a"], 2 * len(host["a"].users))  # what b saw stays seen


async def test_a_cell_that_came_later_can_lead_when_the_commanding_one_is_gone(host: Host, tmp_path: Path) -> None:
    await host.started()
    await host.open(tmp_path, "d")
    await host.until(lambda: host["d"].cell.on("v3") > 0)
    host["d"].cell.members[0].busy = True
    await host["b"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await host.until(lambda: on_v3(host) == [0, 0, 0])
    await host.end("a")
    await host.open(tmp_path, "a")
    await host.until(lambda: not any(bus.waiting for bus in host.board.values()))
    await host.end("b")
    host["d"].cell.finish()
    await host.until(lambda: verified(host["c"]))
    assert host["c"].control.snapshot().rollback.cells == ["a", "c", "d"]  # type: ignore[union-attr]


async def test_whoever_wakes_up_hears_the_bus_before_anybody_is_admitted(host: Host, tmp_path: Path) -> None:
    await host.started()
    host["b"].lock_file.path = tmp_path / "a disk that cannot be seen"
    host.board["b"].stopped = True
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    assert host["b"].cell.on("v3") > 0
    host.board["b"].stopped = False
    host["b"].lookout.look()
    assert host["b"].cell.view.locked
    assert host["b"].cell.on("v3") == 0


async def test_whoever_wakes_up_finds_the_lock_on_the_disk_without_a_bus(host: Host) -> None:
    await host.started()
    for name in NAMES:
        host.board[name].stopped = True
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    host["b"].lookout.look()
    assert host["b"].cell.view.locked
    assert host["b"].control.record.lock == host["a"].control.record.lock


async def test_a_lifted_lock_that_still_lies_on_the_disk_locks_nobody(host: Host, tmp_path: Path) -> None:
    await host.started()
    await host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await host.until(lambda: verified(host["a"]))
    old = host["a"].control.record.lock
    assert old is not None
    await host["a"].control.execute(Unlock(actor=ANN, reason="ok", revision=2, flag_percentage=None), "cli")
    await host.until(lambda: not any(world.cell.view.locked for world in host.worlds.values()))
    LockFile(tmp_path).write(old)
    host["b"].lookout.look()
    assert not host["b"].cell.view.locked


async def test_lifting_an_old_lock_leaves_a_new_one_of_another_cell(tmp_path: Path) -> None:
    file = LockFile(tmp_path)
    old = Lock(1, 0, 1.0, "bob", True, "")
    new = Lock(1, 1, 2.0, "ann", True, "")
    unsure = Lock(1, -1, 3.0, "ann", True, "")
    file.write(new)
    file.lift(1, [old])
    assert file.read() == new
    file.write(unsure)
    file.lift(1, [old])
    assert file.read() == unsure
    file.lift(1, [unsure])
    assert file.read() is None
    file.write(old)
    file.lift(1, [])
    assert file.read() is None


async def test_two_rollbacks_at_once_are_one(host: Host) -> None:
    await host.started()
    await asyncio.gather(
        host["a"].control.execute(Rollback(actor=BOB, reason="errors"), "page"),
        host["b"].control.execute(Rollback(actor=ANN, reason="slow"), "cli"),
    )
    await host.until(lambda: all(world.control.record.revision == 2 for world in host.worlds.values()))
    await host.until(lambda: all(verified(world) for world in host.worlds.values()))
    for world in host.worlds.values():
        await world.control.loop.tick()
    assert {world.control.record for world in host.worlds.values()} == {await host["a"].stored()}
    assert LockFile(host["a"].lock_file.path.parent).read() == host["a"].control.record.lock
