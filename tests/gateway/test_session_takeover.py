"""A client that comes back to another cell: one cell has its session, whoever asks, however often, at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import pytest

from app.errors import StoreUnavailable
from app.gateway import session_takeover
from app.gateway.identity import Identity
from app.gateway.resume_index import ResumeIndex
from app.gateway.resume_store import ResumeStore
from app.gateway.session import Session
from app.gateway.session_opener import SessionOpener
from app.gateway.session_takeover import Ask, SessionTakeover
from app.store.port import Store
from app.store.sql import sqlite_store
from tests.gateway.harness import Client, HandCell, admission_of, frame, with_settings

ANN = Identity("ann", "t-ann")


class Gateway:
    """One cell: everything of a resume but the service around it."""

    def __init__(self, store: Store, name: str, ask: Ask) -> None:
        self.name = name
        self.store = ResumeStore(store, name)
        self.cell = HandCell(with_settings(), storage=self.store)
        self.resumes = ResumeIndex(self.store, 120.0)
        self.cell.told.pass_on_to(self.resumes)
        self.takeover = SessionTakeover(store, self.resumes, self.store, name, ask, alone=False)
        self.opener = SessionOpener(self.cell, admission_of(self.cell), self.resumes, self.takeover)

    async def enter(self, token: str | None = None, *, silent: bool = False) -> Entered:
        client = Client()
        client.silent = silent
        session = await self.opener.open_websocket(ANN, client, token)
        await asyncio.sleep(0)  # its pong, if it is not silent
        return Entered(session, client, client.events[0]["payload"])


class Entered(NamedTuple):
    session: Session
    client: Client
    ready: dict[str, Any]

    @property
    def token(self) -> str:
        return str(self.ready["resume_token"])


@asynccontextmanager
async def cells(store: Store, names: str, *, bus: bool) -> AsyncIterator[list[Gateway]]:
    """Cells that share a store; with `bus` they hear each other at once, as those of one host do."""
    made: list[Gateway] = []

    def ask_of(name: str) -> Ask:
        async def ask(digest: str, limit_s: float) -> bool:
            others = [each for each in made if bus and each.name != name]
            asked = asyncio.gather(*(each.takeover.wanted(digest) for each in others))
            await asyncio.wait({asked}, timeout=limit_s)
            return asked.done() and any(asked.result())

        return ask

    made += [Gateway(store, name, ask_of(name)) for name in names]
    looking = [asyncio.create_task(each.takeover.run()) for each in made]
    try:
        yield made
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = sqlite_store(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_takeover, "WANTED_S", 0.005)
    monkeypatch.setattr(session_takeover, "LOOK_S", 0.002)


@pytest.mark.parametrize("bus", [True, False], ids=["one host", "two hosts"])
@pytest.mark.parametrize("written", [True, False])
async def test_a_living_session_moves_with_all_that_it_did(store: Store, bus: bool, written: bool) -> None:
    async with cells(store, "ab", bus=bus) as (one, two):
        here = await one.enter()
        if written or not bus:
            await one.store.write(one.resumes)
        here.session.receive(frame("chat", "m1"))
        one.cell.v2.work(document=b"one")
        there = await two.enter(here.token)
        assert (there.ready["recovered"], there.ready["outcomes"]) == (True, [["m1", "agent_completed"]])
        assert here.client.closed == (1008, "resumed elsewhere")
        there.session.receive(frame("chat", "m1"))
        assert there.client.told[-1] == ("duplicate", None)
        assert there.session.document == b"one"
        back = await one.enter(here.token)
        assert back.ready["recovered"] is False, "its successor arrived there"
        assert there.client.closed is None


@pytest.mark.parametrize("bus", [True, False], ids=["one host", "two hosts"])
async def test_what_runs_there_never_runs_here_as_well(
    store: Store, bus: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_takeover, "GIVE_UP_S", 0.01)
    async with cells(store, "ab", bus=bus) as (one, two):
        here = await one.enter()
        await one.store.write(one.resumes)
        here.session.receive(frame("chat", "m1"))
        one.cell.v2.started()
        there = await two.enter(here.token)
        assert there.ready["outcomes"] == [["m1", "interrupted"]]
        assert one.cell.v2.held == {}, "it was ended in its worker before it went on here"
        there.session.receive(frame("chat", "m1"))
        assert there.client.told[-1][0] == "ack"


async def test_a_token_whose_successor_was_lost_in_another_cell_opens_the_session_there_again(store: Store) -> None:
    async with cells(store, "abc", bus=True) as (one, two, three):
        here = await one.enter()
        await one.store.write(one.resumes)
        lost = await two.enter(here.token, silent=True)
        again = await two.enter(here.token, silent=True)
        assert again.session is lost.session
        elsewhere = await three.enter(here.token)
        assert elsewhere.ready["recovered"] is True
        assert again.client.closed == (1008, "resumed elsewhere")
        for cell in (one, two, three):
            late = await cell.enter(here.token)
            assert late.ready["recovered"] is False


async def test_a_cell_that_died_is_waited_for_and_what_it_wrote_down_is_stale(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_takeover, "TAKE_S", 0.05)
    async with cells(store, "a", bus=True) as (dead,):
        here = await dead.enter()
        here.session.receive(frame("chat", "m1"))
        dead.cell.v2.work(document=b"one")
        await dead.store.write(dead.resumes)
    async with cells(store, "b", bus=True) as (two,):
        there = await two.enter(here.token)
        assert (there.ready["recovered"], there.session.document) == ("stale", b"one")


async def test_a_cell_that_was_restarted_takes_up_what_it_wrote_down_at_once(store: Store) -> None:
    async with cells(store, "a", bus=True) as (before,):
        here = await before.enter()
        await before.store.close(before.resumes)
    async with cells(store, "a", bus=True) as (after,):
        assert (await after.enter(here.token)).ready["recovered"] == "stale"


async def test_somebody_else_s_token_wakes_nobody(store: Store) -> None:
    async with cells(store, "ab", bus=True) as (one, two):
        here = await one.enter()
        await one.store.write(one.resumes)
        client = Client()
        await two.opener.open_websocket(Identity("bob", "t-bob"), client, here.token)
        assert client.events[0]["payload"]["recovered"] is False
        assert here.client.closed is None
        assert (await two.enter(here.token)).ready["recovered"] is True


class Away:
    """A store that does not answer."""

    def __getattr__(self, name: str) -> Any:
        async def fails(*_: object) -> None:
            raise StoreUnavailable("away")

        return fails


async def test_with_the_store_away_only_the_cell_that_has_a_session_goes_on_with_it() -> None:
    async with cells(cast("Store", Away()), "ab", bus=True) as (one, two):
        here = await one.enter()
        assert (await two.enter(here.token)).ready["recovered"] is False
        assert here.client.closed is None
        assert (await one.enter(here.token)).ready["recovered"] is True


@pytest.mark.parametrize("bus", [True, False], ids=["one host", "two hosts"])
@pytest.mark.parametrize("seed", range(6))
async def test_however_many_claim_it_one_session_goes_on(store: Store, bus: bool, seed: int) -> None:
    """At random: sockets that come and are lost, in any cell, several at once, with every token there was."""
    chance = Random(seed)
    async with cells(store, "abc", bus=bus) as made:
        first = await made[0].enter()
        await made[0].store.write(made[0].resumes)
        tokens = [first.token]
        for _ in range(6):
            claims = [
                chance.choice(made).enter(chance.choice(tokens[-2:]), silent=chance.random() < 0.5)
                for _ in range(chance.randint(1, 4))
            ]
            found = [each for each in await asyncio.gather(*claims) if each.ready["recovered"]]
            tokens += [each.token for each in found]
            going_on = {id(each.session) for each in found if each.session.socket is not None}
            assert len(going_on) <= 1
