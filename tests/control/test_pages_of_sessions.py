"""The sessions of several cells, page by page: each once, by user, whoever comes and goes in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
import pytest_asyncio

from app.control.queries import FleetQueries
from app.fleet.bus import Answer
from app.fleet.questions import Question, SessionKey
from app.fleet.rpc import HostRpc
from rollout.views import SessionView
from tests.control.world import World


class AskedOne:
    """Asks one other cell, over the wire's own encoding."""

    def __init__(self, other: World) -> None:
        self.other = other

    async def ask(self, question: Question, limit_s: float) -> dict[str, Answer]:
        asked = msgspec.msgpack.decode(msgspec.msgpack.encode(question), type=Question)
        return {"b": Answer(1, msgspec.msgpack.encode(self.other.control.queries.answer(asked)))}


@pytest_asyncio.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    one, other = await World.make(tmp_path / "one", "a"), await World.make(tmp_path / "other", "b")
    for world in (one, other):
        world.cell.members.clear()
    yield one, other
    await one.close()
    await other.close()


@pytest.fixture
def everyone(worlds: tuple[World, World]) -> FleetQueries:
    one, other = worlds
    return FleetQueries(one.control.fleet, cast(HostRpc, AskedOne(other)), one.control.snapshot)


def key(session: SessionView) -> SessionKey:
    return session.user_id, session.connection_id


async def test_every_session_is_on_one_page_and_all_are_in_order(
    worlds: tuple[World, World], everyone: FleetQueries
) -> None:
    for number in range(250):
        worlds[number % 3 == 0].cell.connect(f"user {number * 77 % 250:03}")
    seen: list[str] = []
    after: SessionKey | None = None
    for size in (100, 100, 50, 0):
        page = await everyone.sessions(None, 100, "", after)
        assert (page.before, len(page.items), page.matching, page.total) == (len(seen), size, 250, 250)
        seen += [session.user_id for session in page.items]
        after = key(page.items[-1]) if page.items else after
    assert seen == [f"user {number:03}" for number in range(250)]


async def test_who_leaves_between_two_pages_leaves_no_gap(worlds: tuple[World, World], everyone: FleetQueries) -> None:
    for name in "abcdef":
        worlds[name in "bdf"].cell.connect(name)
    first = await everyone.sessions(None, 3)
    assert [session.user_id for session in first.items] == ["a", "b", "c"]
    worlds[0].cell.members = [member for member in worlds[0].cell.members if member.user_id not in "ac"]
    rest = await everyone.sessions(None, 3, "", key(first.items[-1]))
    assert [session.user_id for session in rest.items] == ["d", "e", "f"]
    assert (rest.before, rest.matching) == (1, 4)


async def test_a_search_has_pages_of_its_own(worlds: tuple[World, World], everyone: FleetQueries) -> None:
    for name in ("Ada", "bob", "adam", "eve"):
        worlds[0].cell.connect(name)
    first = await everyone.sessions(None, 1, "ADA")
    assert ([session.user_id for session in first.items], first.matching, first.total) == (["Ada"], 2, 4)
    rest = await everyone.sessions(None, 1, "ADA", key(first.items[0]))
    assert [session.user_id for session in rest.items] == ["adam"]
