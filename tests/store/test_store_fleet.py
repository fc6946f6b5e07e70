"""What several cells need of one store: a leader by its clock, a register, and a notification of every change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from time import monotonic

import pytest
from sqlalchemy import text

from app.store import feed
from app.store.port import Store, StoredCell, StoredRecord
from app.store.sql import SqlStore
from tests.store.stores import cells, entry, make_store, opened

WITHIN_S = 20.0
TTL_S = 60.0
CLOCKS_S = 0.1
"""How far the store's clock and ours may run apart within a test."""


async def soon(asked: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; whoever answers has a clock of its own."""
    async with asyncio.timeout(WITHIN_S):
        while not await asked():  # noqa: ASYNC110 - the clock is another one
            await asyncio.sleep(0.01)


# -- leases -----------------------------------------------------------------------------------------------------------


async def test_one_of_many_leads(place: str) -> None:
    async with cells(place, 4) as stores:
        names = "abcd"
        won = await asyncio.gather(
            *(each.acquire_lease("control", name, TTL_S) for name, each in zip(names, stores, strict=True))
        )
        assert sorted(won) == [False, False, False, True]
        leader = names[won.index(True)]
        assert {await each.load_lease("control") for each in stores} == {leader}
        again = [await each.acquire_lease("control", name, TTL_S) for name, each in zip(names, stores, strict=True)]
        assert again == won
        assert await stores[0].acquire_lease("another", "z", TTL_S)


async def test_a_lease_that_ran_out_is_anybodys(place: str) -> None:
    async with cells(place, 2) as (one, two):
        assert await one.acquire_lease("control", "a", 0.2)
        assert not await two.acquire_lease("control", "b", TTL_S)
        await soon(lambda: two.acquire_lease("control", "b", TTL_S))
        assert not await one.acquire_lease("control", "a", TTL_S)
        assert await one.load_lease("control") == "b"


async def test_a_lease_is_not_taken_before_it_ran_out_by_the_stores_clock(place: str) -> None:
    async with cells(place, 2) as (one, two):
        assert await one.acquire_lease("control", "a", 0.5)
        began = asyncio.get_running_loop().time()
        await soon(lambda: two.acquire_lease("control", "b", TTL_S))
        assert asyncio.get_running_loop().time() - began > 0.4


async def test_a_lease_that_ran_out_has_no_holder_until_it_is_taken_again(place: str) -> None:
    async with opened(place) as store:
        assert await store.acquire_lease("control", "a", 0.0)
        assert await store.load_lease("control") is None
        assert await store.acquire_lease("control", "a", TTL_S)
        assert await store.load_lease("control") == "a"


async def test_a_lease_is_given_back_by_its_holder_only(place: str) -> None:
    async with cells(place, 2) as (one, two):
        assert await one.acquire_lease("control", "a", TTL_S)
        await two.release_lease("control", "b")
        assert not await two.acquire_lease("control", "b", TTL_S)
        await one.release_lease("control", "a")
        assert await two.acquire_lease("control", "b", TTL_S)


# -- the register -----------------------------------------------------------------------------------------------------


def known(found: StoredCell) -> StoredCell:
    return StoredCell(found.name, found.host, found.revision, found.report)


async def test_cells_are_registered_until_they_are_removed(place: str) -> None:
    async with cells(place, 2) as (one, two):
        a, b = StoredCell("a", "host-1", 3, '{"v3": 0}'), StoredCell("b", "host-2", 2, "{}")
        await two.save_cell(b)
        await one.save_cell(StoredCell("a", "host-1", 1, "{}"))
        await one.save_cell(a)
        assert [known(cell) for cell in await two.load_cells()] == [a, b]
        await one.remove_cell("b")
        await one.remove_cell("never there")
        assert [known(cell) for cell in await two.load_cells()] == [a]


async def test_silence_is_measured_from_the_last_word_by_the_stores_clock(place: str) -> None:
    async with opened(place) as store:

        async def silent_s() -> float:
            return (await store.load_cells())[0].silent_s

        async def silent() -> bool:
            return await silent_s() > 0.3

        spoke_at = monotonic()
        await store.save_cell(StoredCell("a", "host", 1, "", silent_s=1000.0))
        assert await silent_s() < monotonic() - spoke_at + CLOCKS_S
        await soon(silent)
        spoke_at = monotonic()
        await store.save_cell(StoredCell("a", "host", 1, ""))
        assert await silent_s() < monotonic() - spoke_at + CLOCKS_S


# -- changes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_backstop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is said is heard, nothing is found by asking."""
    monkeypatch.setattr(feed, "BACKSTOP_S", WITHIN_S * 10)


@asynccontextmanager
async def hearing(store: Store) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """The feed of a cell, and the next thing it says."""
    async with aclosing(store.changes()) as changes:

        async def heard() -> int:
            async with asyncio.timeout(WITHIN_S):
                return await anext(changes)

        yield heard


async def save(store: SqlStore, revision: int) -> None:
    await store.save_record(StoredRecord(revision, "text"), revision - 1 or None, entry(revision=revision))


@pytest.mark.usefixtures("no_backstop")
async def test_a_change_of_one_cell_is_heard_in_the_other(place: str) -> None:
    async with cells(place, 2) as (one, two), hearing(two) as heard:
        assert await heard() == 0
        for revision in range(1, 6):
            await save(one, revision)
            assert await heard() == revision


@pytest.mark.usefixtures("no_backstop")
async def test_a_cell_hears_of_its_own_changes_and_of_pins(place: str) -> None:
    async with opened(place) as store, hearing(store) as heard:
        assert await heard() == 0
        await save(store, 1)
        assert await heard() == 1
        await store.save_pin("u1", "v3", entry("pin"))
        assert await heard() == 1


@pytest.mark.usefixtures("no_backstop")
async def test_a_rewritten_text_is_no_change(place: str) -> None:
    """SQLite's counter may wake whoever listens; they hear of the revision that they know."""
    async with cells(place, 2) as (one, two), hearing(two) as heard:
        await save(one, 1)
        assert await heard() == 1
        await one.rewrite_record(StoredRecord(1, "another text"))
        await save(one, 2)
        seen = [await heard()]
        while seen[-1] != 2:
            seen.append(await heard())
        assert set(seen) <= ({2} if place.startswith("postgresql") else {1, 2})


async def test_a_feed_never_goes_back(place: str) -> None:
    async with cells(place, 2) as (one, two), hearing(two) as heard:
        assert await heard() == 0
        for revision in (1, 2, 3):
            await save(one, revision)
        seen = [await heard()]
        async with one.begin(one.control) as connection:
            await connection.execute(text("UPDATE rollout SET revision = 1"))
        await one.save_record(StoredRecord(2, "text"), 1, entry())
        await one.save_record(StoredRecord(9, "text"), 2, entry())
        while seen[-1] != 9:
            seen.append(await heard())
        assert seen == sorted(seen)
        assert set(seen) <= {1, 2, 3, 9}


async def test_what_a_fleet_says_of_itself_wakes_nobody_on_sqlite(place: str) -> None:
    async with cells(place, 2) as (one, two), hearing(two) as heard:
        assert await heard() == 0
        await one.save_cell(StoredCell("a", "host", 1, ""))
        assert await one.acquire_lease("control", "a", TTL_S)
        await save(one, 1)
        assert await heard() == 1  # and not 0, because of those before


async def test_a_feed_that_is_begun_before_the_store_is_open_waits_for_it(place: str) -> None:
    store = make_store(place)
    async with hearing(store) as heard:
        first = asyncio.ensure_future(heard())
        await asyncio.sleep(0)
        await store.open()
        assert await first == 0
    await store.close()
