"""Harm is acted on at once: nothing that a cell waits for holds an automatic rollback up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from rollout.errors import NoWayBack
from rollout.events import Actor, Rollback, SetPercentage, Start
from rollout.views import VerdictView
from tests.control.world import NoGuard, World

ANN = Actor("ann", "manager")
HARM = VerdictView(guardrail="errors", verdict="fail", words="harm", evidence=120.0, limit=100.0, detail="")


class Guard(NoGuard):
    """Sees harm when it is told to."""

    def __init__(self) -> None:
        self.harm = False

    def verdicts(self) -> list[VerdictView]:
        return [HARM] if self.harm else []


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest_asyncio.fixture
async def world(tmp_path: Path, guard: Guard) -> AsyncIterator[World]:
    made = await World.make(tmp_path, guard=guard)
    await made.control.execute(Start(actor=ANN, percentage=50, revision=0), "cli")
    yield made
    await made.close()


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.control.loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def rolled_back(world: World) -> None:
    await world.until(lambda: world.cell.view.locked and world.cell.on("v3") == 0)


async def test_harm_is_acted_on_while_the_way_back_is_checked(world: World, guard: Guard) -> None:
    world.builds.checked.clear()
    async with running(world):
        raising = asyncio.create_task(world.control.execute(SetPercentage(actor=ANN, percentage=60, revision=1), "api"))
        await world.builds.checking.wait()
        guard.harm = True
        world.wakeup.set()
        await rolled_back(world)
        world.builds.checked.set()
        with suppress(Exception):
            await raising
    assert world.control.record.phase == "rolled_back"
    assert world.control.record.reason == "harm shown by errors"


async def test_harm_is_acted_on_while_the_store_saves_something_else(world: World, guard: Guard) -> None:
    world.store.pause()
    saving = asyncio.create_task(world.control.execute(SetPercentage(actor=ANN, percentage=60, revision=1), "api"))
    await world.store.waiting()
    async with running(world):
        guard.harm = True
        world.wakeup.set()
        await rolled_back(world)
        world.store.go_on()
        await saving
        await world.until(lambda: world.control.record.revision == 3)


async def test_a_persons_rollback_does_not_wait_for_the_check_either(world: World) -> None:
    world.builds.checked.clear()
    raising = asyncio.create_task(world.control.execute(SetPercentage(actor=ANN, percentage=60, revision=1), "api"))
    await world.builds.checking.wait()
    async with asyncio.timeout(5):
        await world.control.execute(Rollback(actor=ANN), "page")
    assert await world.stored() == world.control.record
    world.builds.checked.set()
    with suppress(Exception):
        await raising
    assert world.control.record.phase == "rolled_back"


async def test_what_could_not_come_back_is_not_moved(world: World) -> None:
    world.builds.why_no_way_back = "v2 cannot read it"
    with pytest.raises(NoWayBack, match="v2 cannot read it"):
        await world.control.execute(SetPercentage(actor=ANN, percentage=60, revision=1), "api")
    await world.control.execute(SetPercentage(actor=ANN, percentage=40, revision=1), "api")
    assert world.control.record.percentage == 40
