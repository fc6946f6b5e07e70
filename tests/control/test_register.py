"""Two hosts that know of each other what the store's register says: a rollback, and the one cell that verifies it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from app.control.register import Register
from rollout.events import Actor, Rollback, Start
from tests.control.world import World

ANN = Actor("ann", "manager")


class Hosts:
    """Cell `b` on one host, and on the other cell `a`, which is the first by its name."""

    def __init__(self, one: World, two: World) -> None:
        self.one = one
        self.two = two

    async def exchange(self) -> None:
        """Each writes down what it has observed, and reads what the other has."""
        for world in (self.one, self.two):
            await registry(world).save()
        for world in (self.one, self.two):
            await registry(world).load()


def registry(world: World) -> Register:
    found = world.control.register
    assert found is not None
    return found


@pytest_asyncio.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    one = await World.make(tmp_path / "one", "b", host="one")
    two = await World.make(tmp_path / "two", "a", host="two", database=tmp_path / "one")
    hosts = Hosts(one, two)
    await hosts.exchange()
    await one.control.execute(Start(actor=ANN, percentage=100, revision=0), "cli")
    await two.control.loop.tick()
    yield hosts
    await two.close()
    await one.close()


def done(world: World) -> bool:
    """Whether this cell has seen itself complete."""
    report = world.control.verification.own_report
    return report is not None and report.done


async def test_the_cell_that_was_given_a_rollback_verifies_it_for_all_hosts(hosts: Hosts) -> None:
    await hosts.one.control.execute(Rollback(actor=ANN), "cli")
    await hosts.one.until(lambda: done(hosts.one))
    await registry(hosts.one).save()
    await hosts.two.control.loop.tick()  # only now it hears of it, and finds the other's report in the register
    await registry(hosts.two).load()
    await hosts.two.until(lambda: done(hosts.two))
    unverified = hosts.two.control.snapshot().rollback
    assert unverified is not None
    assert unverified.verified_at is None
    await hosts.exchange()
    verified = await hosts.one.verified()
    assert verified.cells == ["a", "b"]
    assert verified.new_stopped_ms is not None
    assert verified.existing_moved_ms is not None
    await hosts.one.control.repository.flush()
    await hosts.exchange()
    assert await hosts.two.verified() == verified


async def test_when_that_cell_is_gone_another_one_verifies_it(hosts: Hosts) -> None:
    await hosts.one.control.execute(Rollback(actor=ANN), "cli")
    await hosts.one.until(lambda: done(hosts.one))
    await registry(hosts.one).save()
    await hosts.two.control.loop.tick()
    await registry(hosts.two).load()
    await registry(hosts.one).leave()
    await registry(hosts.two).load()
    assert (await hosts.two.verified()).cells == ["a"]


async def test_a_report_stays_in_the_register_after_its_cell_has_seen_the_rollback_verified(hosts: Hosts) -> None:
    await hosts.one.control.execute(Rollback(actor=ANN), "cli")
    await hosts.two.control.loop.tick()
    await hosts.one.until(lambda: done(hosts.one))
    await hosts.two.until(lambda: done(hosts.two))
    await hosts.exchange()
    await hosts.one.verified()
    await hosts.exchange()
    reports = {cell.name: cell.report for cell in await hosts.one.store.load_cells()}
    assert all('"report":null' not in report for report in reports.values()), reports
