"""What a cell is started from: by its settings, or by what the record says was loaded, also when that is read late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from app.control.sources import CHECKS
from app.control.views import rollout_view
from app.settings import Settings
from app.store.port import StoredRecord
from rollout.builds import BuildSource, HostSetting, Served, of_path
from rollout.events import Actor, Start
from rollout.views import AuditEntry
from tests.control.world import FragileStore, World

ANN = Actor("ann", "manager")
BUILTIN, FIXED = BuildSource("builtin"), BuildSource("shop.fixed:create", "/opt/shop/bin/python")
CHANGED = Settings(paths_v3="shop.v4:create")


async def load(world: World, source: BuildSource = FIXED, build: str = "") -> None:
    await world.control.load(
        ANN, factory=source.factory, python=source.python, build=build, live=True, reason="the fix", source="cli"
    )


async def audit(world: World) -> list[str]:
    """What the audit has of loads and settings, the oldest first."""
    page = await world.control.repository.events()
    return [entry.what for entry in reversed(page.items) if entry.what.startswith(("load", "setting"))]


def notes(world: World) -> list[str]:
    return rollout_view(world.control.snapshot()).build_notes


def served(world: World) -> Served:
    """What the service began with."""
    return world.builds.started[0]["v3"]


@asynccontextmanager
async def started(folder: Path, settings: Settings | None = None) -> AsyncIterator[World]:
    world = await World.make(folder, settings=settings)
    yield world
    await world.close()


@pytest_asyncio.fixture
async def loaded(tmp_path: Path) -> Path:
    """The folder of a service that was stopped after a load."""
    async with started(tmp_path) as world:
        await load(world)
    return tmp_path


async def test_without_a_load_both_paths_are_served_from_the_settings(tmp_path: Path) -> None:
    async with started(tmp_path, Settings(paths_v2="shop.v2:create", paths_v3_python="/opt/python")) as world:
        assert world.builds.started == [
            {"v2": Served(BuildSource("shop.v2:create")), "v3": Served(BuildSource("builtin", "/opt/python"))}
        ]
        assert notes(world) == []


async def test_what_was_loaded_outlives_a_restart(loaded: Path) -> None:
    for _ in range(2):
        async with started(loaded) as world:
            assert world.builds.started == [{"v2": Served(BUILTIN), "v3": Served(FIXED)}]
            assert (notes(world), await audit(world)) == (
                [],
                ["load v3 build digest of shop.fixed:create in place of v3-build"],
            )


async def test_an_id_that_a_person_gave_outlives_it_too(tmp_path: Path) -> None:
    async with started(tmp_path) as world:
        await load(world, build="release 7")
    async with started(tmp_path) as world:
        assert served(world) == Served(FIXED, "release 7")


async def test_what_a_load_does_not_give_stays_as_it_was_loaded(loaded: Path) -> None:
    async with started(loaded) as world:
        await load(world, BuildSource(""), "release 8")
        assert world.builds.adopted == [(FIXED.factory, FIXED.python, "release 8")]
    async with started(loaded) as world:
        assert served(world) == Served(FIXED, "release 8")


async def test_a_setting_that_was_changed_since_is_served_and_said_once(loaded: Path) -> None:
    note = (
        "v3 is served from shop.v4:create: its setting was changed after build digest of shop.fixed:create was loaded"
    )
    for _ in range(2):
        async with started(loaded, CHANGED) as world:
            assert served(world) == Served(BuildSource("shop.v4:create"))
            assert notes(world) == [note]
            assert (await audit(world))[1:] == ["setting of v3: shop.v4:create"]
    async with started(loaded) as world:
        assert served(world) == Served(FIXED)
        assert notes(world) == []
        assert (await audit(world))[2:] == ["setting of v3: builtin"]


async def test_a_changed_interpreter_is_a_changed_setting(loaded: Path) -> None:
    async with started(loaded, Settings(paths_v3_python="/opt/other/python")) as world:
        assert served(world) == Served(BuildSource("builtin", "/opt/other/python"))


async def test_a_setting_that_names_the_loaded_build_is_no_change(loaded: Path) -> None:
    async with started(loaded, Settings(paths_v3=FIXED.factory, paths_v3_python=FIXED.python)) as world:
        assert served(world) == Served(FIXED)
        assert notes(world) == []
        assert len(await audit(world)) == 1
        assert world.control.record.revision == 1


async def test_a_load_comes_after_a_changed_setting(loaded: Path) -> None:
    async with started(loaded, CHANGED) as world:
        await load(world, BuildSource("shop.v5:create"))
    async with started(loaded, CHANGED) as world:
        assert served(world) == Served(BuildSource("shop.v5:create"))
        assert notes(world) == []


async def test_cells_that_start_at_once_say_a_changed_setting_once(
    loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, save, seen = asyncio.Barrier(2), FragileStore.save_record, set[FragileStore]()

    async def together(store: FragileStore, record: StoredRecord, expected: int | None, entry: AuditEntry) -> None:
        """Both have read the record before either saves it; the second save is refused."""
        if store not in seen:
            seen.add(store)
            await both.wait()
        await save(store, record, expected, entry)

    monkeypatch.setattr(FragileStore, "save_record", together)
    worlds = await asyncio.gather(*(World.make(loaded, name, settings=CHANGED) for name in "ab"))
    assert len(seen) == 2
    assert [served(world) for world in worlds] == [Served(BuildSource("shop.v4:create"))] * 2
    assert (await audit(worlds[0]))[1:] == ["setting of v3: shop.v4:create"]
    for world in worlds:
        await world.close()


async def test_a_changed_setting_is_said_also_when_another_change_comes_first(
    loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(loaded) as other:
        save, start = FragileStore.save_record, [Start(actor=ANN, percentage=0, revision=1)]

        async def after(store: FragileStore, record: StoredRecord, expected: int | None, entry: AuditEntry) -> None:
            if start:
                await other.control.execute(start.pop(), "cli")
            await save(store, record, expected, entry)

        monkeypatch.setattr(FragileStore, "save_record", after)
        async with started(loaded, CHANGED) as world:
            assert served(world) == Served(BuildSource("shop.v4:create"))
            assert (await audit(world))[1:] == ["setting of v3: shop.v4:create"]
            assert world.control.record.phase == "progressing"


# -- a record that cannot be read, or is read too early ---------------------------------------------------------------


async def test_v3_waits_for_a_record_that_cannot_be_read(loaded: Path) -> None:
    world = await World.make(loaded, store_down=True)
    await world.elapse(2)
    assert world.builds.started == [{"v2": Served(BUILTIN)}]
    world.store.fail(False)
    await world.elapse(1)
    await world.until(lambda: len(world.builds.started) == 2)
    assert world.builds.started[1] == {"v3": Served(FIXED)}
    await world.elapse(2)
    assert len(world.builds.started) == 2
    await world.close()


async def test_a_changed_setting_is_said_also_when_the_record_is_read_late(loaded: Path) -> None:
    world = await World.make(loaded, store_down=True, settings=CHANGED)
    world.store.fail(False)
    await world.elapse(1)
    await world.until(lambda: len(world.builds.started) == 2)
    assert world.builds.started[1] == {"v3": Served(BuildSource("shop.v4:create"))}
    assert (await audit(world))[1:] == ["setting of v3: shop.v4:create"]
    await world.close()


async def test_a_store_that_goes_away_again_is_asked_again(loaded: Path) -> None:
    world = await World.make(loaded, store_down=True, settings=CHANGED)
    world.store.fail(False)
    world.store.pause()
    await world.elapse(1)
    await world.store.waiting()
    world.store.fail(True)
    world.store.go_on()
    await world.elapse(1)
    world.store.fail(False)
    await world.elapse(2)
    await world.until(lambda: len(world.builds.started) == 2)
    await world.close()


async def test_a_cell_that_missed_a_load_while_it_started_catches_up(tmp_path: Path) -> None:
    """It has read the record before the load, and is seen by the others after it."""
    async with started(tmp_path) as late, started(tmp_path) as other:
        await load(other)
        await late.elapse(1)
        await late.until(lambda: late.builds.adopted != [])
        assert late.builds.adopted == [(FIXED.factory, FIXED.python, "digest of shop.fixed:create")]
        await late.elapse(CHECKS)
        assert len(late.builds.adopted) == 1


async def test_what_does_not_come_up_then_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with started(tmp_path) as late, started(tmp_path) as other:
        await load(other)
        late.builds.fails = "no module named shop"
        await late.elapse(1)
        await late.until(lambda: "refused" in late.log)
        late.builds.fails = ""
        await late.elapse(CHECKS)
        assert late.builds.adopted == []


async def test_a_cell_that_was_told_to_load_does_not_load_twice(tmp_path: Path) -> None:
    async with started(tmp_path) as world:
        await load(world)
        await world.elapse(CHECKS + 1)
        assert len(world.builds.adopted) == 1


async def test_a_load_on_another_host_is_not_followed_without_a_restart(tmp_path: Path) -> None:
    async with started(tmp_path) as settled, started(tmp_path) as other:
        await settled.elapse(CHECKS)
        await load(other)
        await settled.elapse(CHECKS)
        assert settled.builds.adopted == []


# -- hosts ------------------------------------------------------------------------------------------------------------


class Hosts:
    """A cell on each of two hosts, on one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worlds: dict[str, World] = {}

    async def start(self, host: str, settings: Settings | None = None) -> World:
        if host in self.worlds:
            await self.worlds.pop(host).close()
        world = await World.make(
            self.folder / host, f"a@{host}", database=self.folder, host=host, settings=settings, several=True
        )
        self.worlds[host] = world
        await self.meet()
        return world

    async def meet(self) -> None:
        """Each writes down what it is, and reads what the other is."""
        for step in ("save", "load"):
            for world in self.worlds.values():
                assert world.control.register is not None
                await getattr(world.control.register, step)()

    async def close(self) -> None:
        for world in self.worlds.values():
            await world.close()


@pytest_asyncio.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    hosts = Hosts(tmp_path)
    await hosts.start("one")
    await hosts.start("two", Settings(paths_v3_python="/opt/two/python"))
    yield hosts
    await hosts.close()


async def test_a_load_keeps_the_setting_of_each_host_that_is_there(hosts: Hosts) -> None:
    await load(hosts.worlds["one"])
    recorded = of_path((await hosts.worlds["two"].stored()).builds, "v3")
    assert recorded is not None
    assert set(recorded.hosts) == {
        HostSetting("one", BUILTIN),
        HostSetting("two", BuildSource("builtin", "/opt/two/python")),
    }


async def test_a_changed_setting_wins_on_its_host_only_and_both_say_so(hosts: Hosts) -> None:
    await load(hosts.worlds["one"])
    two = await hosts.start("two", CHANGED)
    one = await hosts.start("one")
    assert (served(one), served(two)) == (Served(FIXED), Served(BuildSource("shop.v4:create")))
    expected = [
        "v3 runs build digest of shop.fixed:create in a@one and build digest of shop.v4:create in a@two: "
        "no more users are moved to v3 until they run the same",
        "v3 on two is served from shop.v4:create: its setting was changed after build digest of shop.fixed:create "
        "was loaded",
    ]
    assert notes(one) == notes(two) == expected
    assert (await audit(one))[1:] == ["setting of v3 on two: shop.v4:create"]


async def test_a_host_that_did_not_load_serves_what_was_loaded_after_its_next_start(hosts: Hosts) -> None:
    await load(hosts.worlds["one"])
    await hosts.meet()
    assert notes(hosts.worlds["two"]) == [
        "v3 runs build digest of shop.fixed:create in a@one and build v3-build in a@two: "
        "no more users are moved to v3 until they run the same"
    ]
    two = await hosts.start("two", Settings(paths_v3_python="/opt/two/python"))
    assert served(two) == Served(FIXED)
    assert notes(two) == notes(hosts.worlds["one"]) == []


async def test_of_a_host_that_is_gone_nothing_is_said(hosts: Hosts) -> None:
    await load(hosts.worlds["one"])
    await hosts.start("two", CHANGED)
    await hosts.worlds["one"].elapse(1)
    assert len(notes(hosts.worlds["one"])) == 2
    await hosts.worlds.pop("two").close()
    await hosts.meet()
    assert notes(hosts.worlds["one"]) == []
