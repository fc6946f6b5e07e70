"""Who counts the rollout's clock, how others learn of it, and what a stop, a crash or a pause of the leader costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from app.control.clock import SAVE_S
from app.control.views import rollout_view
from app.errors import StoreUnavailable
from app.fleet.bus import BusMessage, Changed
from app.fleet.lease import NAME, TTL_S
from rollout.events import Actor, ApplyPlan, Pause, Resume, Rollback, Start, Undo
from rollout.plan import Plan, Stage
from tests.control.world import World
from tests.fleet.memory_bus import MemoryBus

ANN = Actor("ann", "manager")
BAKE_S = 600
PLAN = Plan("p", (Stage(10, BAKE_S, (), "automatic"), Stage(40, BAKE_S, (), "automatic")))
DAY_S = 86_400


async def baking(world: World) -> None:
    """The first stage begins, in a cell that leads."""
    await world.control.execute(ApplyPlan(actor=ANN, plan=PLAN, revision=0), "cli")
    await world.elapse(1)
    await world.control.execute(Start(actor=ANN, revision=1), "cli")


def left_s(world: World) -> float:
    """Seconds until the bake is over, as this cell's views say it."""
    next_at = rollout_view(world.control.snapshot()).next_at
    assert next_at is not None
    return next_at - world.now


async def elapse(seconds: int, *worlds: World) -> None:
    """The same time passes in all of these cells."""
    for _ in range(seconds):
        for world in worlds:
            await world.elapse(1)


@pytest_asyncio.fixture
async def alone(tmp_path: Path) -> AsyncIterator[World]:
    """The only cell of its store."""
    world = await World.make(tmp_path)
    await baking(world)
    yield world
    await world.close()


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """The cell that leads, and one that follows it on another host."""
    first = await World.make(tmp_path / "a", "a", database=tmp_path, several=True)
    await baking(first)
    second = await World.make(tmp_path / "b", "b", database=tmp_path, several=True)
    yield first, second
    await second.close()
    await first.close()


# -- the leader -------------------------------------------------------------------------------------------------------


async def test_a_leader_writes_the_clock_down_every_30_seconds_and_changes_nothing_else(alone: World) -> None:
    before = await alone.stored()
    entries = (await alone.control.repository.events()).items
    written: list[float] = []
    for _ in range(int(3 * SAVE_S)):
        await alone.elapse(1)
        if (elapsed_s := (await alone.stored()).elapsed_s) not in (before.elapsed_s, *written):
            written.append(elapsed_s)
    assert written == [before.elapsed_s + SAVE_S * turn for turn in (1, 2, 3)]
    after = await alone.stored()
    assert (after.revision, after.changed_at, after.baking_since_s) == (2, before.changed_at, before.baking_since_s)
    assert (await alone.control.repository.events()).items == entries


async def test_a_clock_that_was_written_down_is_no_news_on_the_bus(tmp_path: Path) -> None:
    board: dict[str, MemoryBus] = {}
    world = await World.make(tmp_path, bus=MemoryBus("a", board))
    other = MemoryBus("b", board)
    await baking(world)
    other.waiting.clear()
    await world.elapse(int(SAVE_S) + 1)
    assert (await world.stored()).elapsed_s >= SAVE_S
    heard = [msgspec.msgpack.decode(body, type=BusMessage) for _, body in other.waiting]
    assert not [message for message in heard if isinstance(message, Changed)]
    await world.close()


async def test_a_store_that_was_away_learns_the_clock_when_it_is_back(alone: World) -> None:
    await alone.elapse(20)
    alone.store.fail(True)
    await alone.elapse(40)
    alone.store.fail(False)
    await alone.elapse(1)
    assert (await alone.stored()).elapsed_s == alone.control.record.elapsed_s + 61
    assert left_s(alone) == BAKE_S - 61


async def test_a_change_that_is_saved_while_the_clock_is_written_down_stays(alone: World) -> None:
    await alone.elapse(20)
    alone.store.hold_rewrite()
    writing = asyncio.create_task(alone.control.repository.save_clock())
    await alone.store.rewritten()
    await alone.control.execute(Pause(actor=ANN, revision=2), "cli")
    alone.store.answer()
    await writing
    await alone.control.execute(Resume(actor=ANN, revision=3), "cli")
    assert (await alone.stored()).phase == "progressing"
    assert left_s(alone) == BAKE_S - 20


async def test_while_a_process_stands_still_nothing_bakes(alone: World) -> None:
    alone.monotonic += DAY_S
    alone.now += DAY_S
    await alone.elapse(5)
    assert left_s(alone) == BAKE_S - TTL_S - 4  # it begins again with its first tick
    assert alone.control.record.percentage == 10


# -- stops, crashes, successors ---------------------------------------------------------------------------------------


async def test_a_planned_stop_forgets_nothing_and_bakes_nothing_until_the_next_start(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await baking(world)
    await world.elapse(45)
    await world.close()
    again = await World.make(tmp_path)
    again.now = world.now + DAY_S
    assert left_s(again) == BAKE_S - 45
    await again.elapse(1)
    assert again.control.record.percentage == 10
    await again.elapse(BAKE_S - 45)
    assert again.control.record.percentage == 40
    await again.close()


async def test_a_crash_costs_what_was_not_written_down(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await baking(world)
    await world.elapse(45)
    await world.abandon()
    again = await World.make(tmp_path)
    again.now = world.now + DAY_S
    assert left_s(again) == BAKE_S - SAVE_S
    await again.close()


async def test_a_rollback_can_still_be_undone_after_a_day_in_which_nothing_ran(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await baking(world)
    await world.elapse(5)
    await world.control.execute(Rollback(actor=ANN), "cli")
    await world.elapse(500)
    await world.close()
    again = await World.make(tmp_path)
    again.now = world.now + DAY_S
    view = rollout_view(again.control.snapshot())
    assert (view.allowed["undo"], view.undo_until) == ("", again.now + 100)
    await again.control.execute(Undo(actor=ANN, revision=view.revision), "cli")
    assert left_s(again) == BAKE_S - 5
    await again.close()


async def test_a_successor_counts_from_when_it_leads(pair: tuple[World, World]) -> None:
    first, second = pair
    await elapse(40, first, second)
    await first.store.release_lease(NAME, "a/1")  # as if it had run out: nobody leads for an hour
    second.now += 3_600
    second.monotonic += 3_600
    await second.elapse(1)
    assert left_s(second) == BAKE_S - SAVE_S
    await second.elapse(10)
    assert left_s(second) == BAKE_S - SAVE_S - 10


async def test_after_a_planned_stop_a_successor_goes_on_where_the_leader_was(pair: tuple[World, World]) -> None:
    first, second = pair
    await elapse(40, first, second)
    await first.control.loop.close()
    await second.elapse(1)
    assert left_s(second) == BAKE_S - 40
    await second.elapse(BAKE_S - 41)
    assert second.control.record.percentage == 10
    await second.elapse(1)
    assert second.control.record.percentage == 40


# -- those who follow -------------------------------------------------------------------------------------------------


async def test_a_cell_that_follows_says_what_the_leader_says(pair: tuple[World, World]) -> None:
    first, second = pair
    before = second.control.record
    second.log.clear()
    for _ in range(100):
        await elapse(1, first, second)
        assert left_s(second) == left_s(first)
    assert (second.control.record, second.log) == (before, []), "no record to adopt, no sweep, nothing to save"
    assert (await first.stored()).revision == 2


async def test_a_cell_that_hears_of_no_leader_does_not_let_time_pass_for_ever(pair: tuple[World, World]) -> None:
    first, second = pair
    await elapse(31, first, second)
    second.now += DAY_S
    second.monotonic += DAY_S
    assert left_s(second) == BAKE_S - 2 * SAVE_S


async def test_a_command_to_a_cell_that_follows_takes_the_clock_along(pair: tuple[World, World]) -> None:
    first, second = pair
    await elapse(50, first, second)
    await second.control.execute(Pause(actor=ANN, revision=2), "cli")
    stored = await first.stored()
    assert (stored.phase, stored.baked_s) == ("paused", 50)


async def test_the_clock_is_not_written_over_a_change_of_another_cell(pair: tuple[World, World]) -> None:
    first, second = pair
    await elapse(10, first, second)
    await second.control.execute(Pause(actor=ANN, revision=2), "cli")
    paused = await first.stored()
    first.monotonic += 2
    await first.control.repository.save_clock()
    assert await first.stored() == paused
    first.store.fail(True)
    with pytest.raises(StoreUnavailable):
        await first.control.repository.save_clock()
    first.store.fail(False)
    await first.elapse(1)
    assert first.control.record == paused
