"""A load in the cells of a host: checked everywhere, then written down, then served; and what waits for one build."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.control import change
from app.control.views import Snapshot, builds_differ, rollout_view
from app.errors import FactoryError, StoreUnavailable
from rollout.builds import BuildSource, of_path
from rollout.errors import BuildsDiffer, NotAllowed
from rollout.events import Actor, ApplyPlan, Pause, Promote, Rollback, SetPercentage, Start, Undo, Unlock
from rollout.plan import Plan, Stage
from rollout.views import Loaded
from tests.control.world import World
from tests.fleet.memory_bus import MemoryBus, deliver

ANN, OLE = Actor("ann", "manager"), Actor("ole", "oncall")
DIFFER = "v3 runs build v3-build in a and build b9 in b"
AUTOMATIC = Plan("night", (Stage(10, 5, (), "automatic"), Stage(50, 5, (), "automatic")))


class Pair:
    """Cells a and b of a host, on a bus that is delivered when the test says so."""

    def __init__(self) -> None:
        self.board: dict[str, MemoryBus] = {}
        self.worlds: dict[str, World] = {}

    async def open(self, folder: Path) -> None:
        for name in "ab":
            self.worlds[name] = await World.make(folder, name, bus=MemoryBus(name, self.board))
        self.talk()

    def talk(self) -> None:
        """Each says what it is, and hears the other."""
        for world in self.worlds.values():
            world.control.sync.say()
        deliver(self.board)

    @property
    def a(self) -> World:
        return self.worlds["a"]

    @property
    def b(self) -> World:
        return self.worlds["b"]

    def run_another_build(self) -> None:
        self.b.cell.builds["v3"] = "b9"
        self.talk()

    async def load(self, actor: Actor = ANN) -> Loaded:
        """Given to a, heard by b."""
        loading = asyncio.create_task(
            self.a.control.load(
                actor, factory="shop:create", python="", build="b8", live=True, reason="the fix", source="cli"
            )
        )
        async with asyncio.timeout(5):
            while not loading.done():
                deliver(self.board)
                await asyncio.sleep(0)
        return loading.result()

    async def close(self) -> None:
        for world in self.worlds.values():
            await world.close()


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.open(tmp_path)
    yield pair
    await pair.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other cells say is never waited for."""
    monkeypatch.setattr(change, "HEARD_S", 0.0)


# -- written down, then served ----------------------------------------------------------------------------------------


async def test_a_load_is_written_down_before_any_cell_serves_it(pair: Pair) -> None:
    pair.b.builds.log = pair.a.log
    loaded = await pair.load()
    assert (loaded.build, loaded.previous_build, loaded.cells) == ("b8", "v3-build", ["a", "b"])
    assert [line for line in pair.a.log if "save" in line or "adopted" in line] == [
        "record saved",
        "adopted b8",
        "adopted b8",
    ]
    recorded = of_path((await pair.b.stored()).builds, "v3")
    assert recorded is not None
    assert (recorded.source, recorded.build, recorded.named) == (BuildSource("shop:create"), "b8", True)
    (entry,) = (await pair.a.control.repository.events()).items
    assert (entry.who, entry.what, entry.reason) == ("ann", "load v3 build b8 in place of v3-build", "the fix")


async def test_a_store_that_is_away_refuses_a_load_and_nothing_is_served(pair: Pair) -> None:
    pair.a.store.fail(True)
    with pytest.raises(StoreUnavailable):
        await pair.load()
    await pair.a.until(lambda: "abandoned b8" in pair.a.log)
    deliver(pair.board)
    await pair.b.until(lambda: "abandoned b8" in pair.b.log)
    pair.a.store.fail(False)
    for world in (pair.a, pair.b):
        assert (world.builds.adopted, world.builds.prepared) == ([], "")
        assert world.cell.builds["v3"] == "v3-build"
    assert (await pair.load()).cells == ["a", "b"], "later it can be loaded"


async def test_a_build_that_one_cell_cannot_prepare_is_not_written_down(pair: Pair) -> None:
    pair.b.builds.fails = "no module named shop"
    with pytest.raises(FactoryError, match="cell b: no module named shop"):
        await pair.load()
    assert await pair.a.store.load_record() is None
    assert pair.a.builds.adopted == []


async def test_who_may_not_load_changes_nothing(pair: Pair) -> None:
    with pytest.raises(NotAllowed):
        await pair.load(OLE)
    assert await pair.a.store.load_record() is None


async def test_a_load_stands_on_what_others_have_changed_meanwhile(tmp_path: Path) -> None:
    one, other = await World.make(tmp_path), await World.make(tmp_path)
    await other.control.execute(Start(actor=ANN, percentage=10, revision=0), "cli")
    await one.control.load(ANN, factory="shop:create", python="", build="b8", live=True, reason="", source="cli")
    stored = await other.stored()
    assert (stored.percentage, stored.revision) == (10, 2)
    assert of_path(stored.builds, "v3") is not None
    assert one.builds.adopted == [("shop:create", "", "b8")]
    await other.close()
    await one.close()


async def test_a_rollback_while_a_load_is_saved_keeps_both(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=100, revision=0), "cli")
    world.store.pause()
    loading = asyncio.create_task(
        world.control.load(ANN, factory="shop:create", python="", build="b8", live=True, reason="", source="cli")
    )
    await world.store.waiting()
    await world.control.execute(Rollback(actor=ANN), "cli")
    assert world.control.record.lock is not None, "it does not wait for the store"
    world.store.go_on()
    await loading
    await world.verified()
    await world.elapse(1)
    stored = await world.stored()
    assert stored.phase == world.control.record.phase == "rolled_back"
    for record in (stored, world.control.record):
        assert of_path(record.builds, "v3") is not None
    await world.close()


# -- while cells run different builds ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_while_builds_differ_no_command_raises_the_percentage(pair: Pair) -> None:
    control = pair.a.control
    await control.execute(Start(actor=ANN, percentage=20, revision=0), "cli")
    pair.run_another_build()
    assert rollout_view(control.snapshot()).build_notes == [
        f"{DIFFER}: no more users are moved to v3 until they run the same"
    ]
    for command in (
        SetPercentage(actor=ANN, percentage=30, revision=1),
        Promote(actor=ANN, revision=1),
        Promote(actor=ANN, full=True, revision=1),
    ):
        with pytest.raises(BuildsDiffer, match=f"nobody is moved to v3: {DIFFER}; load one of them on every host"):
            await control.execute(command, "cli")
    assert (control.record.percentage, control.record.revision) == (20, 1)


@pytest.mark.usefixtures("impatient")
async def test_while_builds_differ_all_that_raises_nothing_works(pair: Pair) -> None:
    control = pair.a.control
    await control.execute(Start(actor=ANN, percentage=20, revision=0), "cli")
    pair.run_another_build()
    await control.execute(Pause(actor=ANN, revision=1), "cli")
    await control.execute(SetPercentage(actor=ANN, percentage=10, revision=2), "cli")
    assert control.record.percentage == 10
    await control.execute(Rollback(actor=ANN), "cli")
    assert control.record.phase == "rolled_back"
    with pytest.raises(BuildsDiffer):
        await control.execute(Undo(actor=ANN, revision=4), "cli")
    await pair.a.elapse(1)
    await control.execute(Unlock(actor=ANN, reason="fixed", flag_percentage=None, revision=4), "cli")
    with pytest.raises(BuildsDiffer):
        await control.execute(Start(actor=ANN, revision=5, percentage=1), "cli")
    await control.execute(Start(actor=ANN, revision=5, percentage=0), "cli")


async def test_a_load_is_how_they_come_to_run_the_same(pair: Pair) -> None:
    pair.run_another_build()
    await pair.load()
    await pair.a.control.execute(Start(actor=ANN, percentage=20, revision=1), "cli")
    assert pair.a.control.record.percentage == 20


async def test_what_another_cell_said_before_it_loaded_refuses_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load is over and the next command is there before the other cell has said what it runs."""
    looked = asyncio.Event()

    def look(snapshot: Snapshot) -> str:
        looked.set()
        return builds_differ(snapshot)

    monkeypatch.setattr(change, "builds_differ", look)
    pair.run_another_build()
    starting = asyncio.create_task(pair.a.control.execute(Start(actor=ANN, percentage=20, revision=0), "cli"))
    await looked.wait()
    pair.b.cell.builds["v3"] = "v3-build"
    pair.talk()
    await starting
    assert pair.a.control.record.percentage == 20


async def test_a_cell_without_v3_runs_no_other_build(pair: Pair) -> None:
    pair.b.cell.available["v3"] = False
    pair.run_another_build()
    await pair.a.control.execute(Start(actor=ANN, percentage=20, revision=0), "cli")
    assert rollout_view(pair.a.control.snapshot()).build_notes == []


async def test_while_builds_differ_nothing_advances_by_itself(pair: Pair) -> None:
    control = pair.a.control
    await control.execute(ApplyPlan(actor=ANN, plan=AUTOMATIC, revision=0), "cli")
    await pair.a.elapse(1)
    await control.execute(Start(actor=ANN, revision=1), "cli")
    pair.run_another_build()
    await pair.a.elapse(8)
    assert (control.record.percentage, control.record.holding) == (10, "builds")
    texts = [notice.text for notice in pair.a.notices if notice.about == "builds"]
    assert texts == ["holds at 10 %: cells run different builds of v3"]
    pair.b.cell.builds["v3"] = "v3-build"
    pair.talk()
    await pair.a.elapse(1)
    assert (control.record.percentage, control.record.holding) == (50, "")
