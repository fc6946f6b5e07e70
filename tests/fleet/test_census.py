"""Who is connected, over several cells: a user with sockets in two counts once, and any percentage can be previewed."""

from __future__ import annotations

import random

import msgspec
import pytest

from app.fleet import census
from app.fleet.bus import CellFigures
from app.fleet.census import NEVER, Census
from app.fleet.members import Fleet
from app.gateway.ports import BucketRow
from app.metrics.counters import SLOTS
from app.metrics.user_marks import pack
from rollout.assign import FlagRule, View, assign
from rollout.cohort import bucket
from rollout.names import PATHS, PathName
from tests.fleet.memory_bus import MemoryBus

GROUP = "USE_WEBSOCKET_SUPERVISOR_V3"
USERS = [f"user-{number}" for number in range(300)]
PINS: dict[str, PathName] = {"user-1": "v3", "user-2": "v2", "user-3": "v3"}


def rows(users: list[str], path: PathName = "v2") -> list[BucketRow]:
    return [BucketRow(user, bucket(GROUP, user), path, 2) for user in users]


def view_at(percentage: int, **known: object) -> View:
    flag = FlagRule(GROUP, percentage, bucket_only=True, enabled=True)
    return View(flag=flag, pins=PINS, **{"v3_available": True, **known})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "known", [{}, {"locked": True}, {"forced": True}, {"forced": False}, {"v3_available": False}, {"v3_withheld": True}]
)
@pytest.mark.parametrize("path", PATHS)
def test_a_preview_is_what_the_decision_would_then_be(known: dict[str, object], path: PathName) -> None:
    counted = census.take(rows(USERS, path), view_at(50, **known), GROUP, {})
    for percentage in (0, 1, 37, 99, 100):
        then = view_at(percentage, **{**known, "locked": False})
        moving = [user for user in USERS if assign(user, then).path != path]
        preview = counted.preview(percentage)
        to = {"v2": (preview.users_to_v3, preview.sessions_to_v3), "v3": (preview.users_to_v2, preview.sessions_to_v2)}
        assert to[path] == (len(moving), 2 * len(moving))
        other: PathName = "v3" if path == "v2" else "v2"
        assert to[other] == (0, 0)


def test_several_cells_preview_as_one_and_count_a_user_once() -> None:
    chance = random.Random(7)
    cells = {name: chance.sample(USERS, 150) for name in "abc"}
    board: dict[str, MemoryBus] = {}
    fleets = {name: Fleet(name, MemoryBus(name, board)) for name in cells}
    for name, users in cells.items():
        for fleet in fleets.values():
            if fleet.name != name:
                fleet.hear(name, figures_with(users))
    parts = [
        census.take(rows(users), view_at(0), GROUP, fleets[name].counted_elsewhere()) for name, users in cells.items()
    ]
    everybody = sorted({user for users in cells.values() for user in users})
    one = census.take(rows(everybody), view_at(0), GROUP, {}).preview(40)
    together = census.together(parts).preview(40)
    assert 0 < one.users_to_v3 == together.users_to_v3 < len(everybody)
    assert together.sessions_to_v3 == sum(
        2 for users in cells.values() for user in users if assign(user, view_at(40)).path == "v3"
    )


def test_the_first_cell_counts_a_user_and_the_others_do_not_until_it_is_gone() -> None:
    board: dict[str, MemoryBus] = {}
    first, second = Fleet("a", MemoryBus("a", board)), Fleet("b", MemoryBus("b", board))
    own = {"v2": pack(["ann", "bob"]), "v3": pack(["cleo"])}
    first.hear("b", figures_with(["ann"]))
    second.hear("a", figures_with(["bob", "cleo"]))
    for fleet in (first, second):
        fleet.compare(own)  # type: ignore[arg-type]
    assert (first.repeated("v2"), first.repeated("v3")) == (0, 0)
    assert (second.repeated("v2"), second.repeated("v3")) == (1, 0)  # cleo is on v2 there, which is another count
    board["a"].leave()
    second.present()
    assert second.repeated("v2") == 0


def test_silence_is_counted_from_the_last_word_of_a_cell() -> None:
    now = 100.0
    board: dict[str, MemoryBus] = {}
    fleet = Fleet("a", MemoryBus("a", board), clock=lambda: now)
    MemoryBus("b", board)
    fleet.present()
    fleet.elsewhere({"a@far": 3.0})
    now = 107.5
    assert (fleet.silent_s("a"), fleet.silent_s("b"), fleet.silent_s("a@far")) == (0.0, 7.5, 10.5)
    fleet.hear("b")
    assert fleet.silent_s("b") == 0.0


def test_a_cell_is_silent_when_its_report_is_overdue() -> None:
    now = 100.0
    board: dict[str, MemoryBus] = {}
    fleet = Fleet("a", MemoryBus("a", board), clock=lambda: now)
    MemoryBus("b", board)
    fleet.present()
    fleet.elsewhere({"c@far": 0.0})
    for seconds, silent in ((0.0, []), (1.9, []), (2.0, ["b"]), (2.9, ["b"]), (3.0, ["b", "c@far"])):
        now = 100.0 + seconds
        assert [name for name in fleet.names() if fleet.silent(name)] == silent, "the register is read once a second"


def test_a_census_is_small_and_survives_the_register() -> None:
    counted = census.take(rows(USERS), view_at(50), GROUP, {})
    text = msgspec.json.encode(counted)
    assert len(text) < 2048
    assert msgspec.json.decode(text, type=Census) == counted
    assert len(counted.users["v2"]) == NEVER + 1


def figures_with(users: list[str]) -> CellFigures:
    return CellFigures("p", 1, False, 0, "idle", 0.0, {}, {}, [0] * SLOTS, 0, [], {"v2": pack(users)})
