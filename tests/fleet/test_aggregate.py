"""Many cells as one: sums are sums, quantiles come from summed histograms, and nothing is lost when a cell is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from app.control.history import SeriesHistory
from app.fleet import aggregate
from app.fleet.bus import CellFigures
from app.fleet.members import Fleet
from app.metrics import error_groups
from app.metrics.counters import MESSAGES, Counters
from app.metrics.error_groups import GroupCount
from app.metrics.user_marks import pack
from app.pool.state import PathState
from app.store.sql import sqlite_store
from rollout.names import PathName
from rollout.names import Verdict as Word
from rollout.views import VerdictView
from tests.control.memory_cell import MemoryCell
from tests.fleet.memory_bus import MemoryBus

UP = PathState(True, None, "b1", 3, 2, 1000, 10.0, 1, 60.0)
DOWN = PathState(False, "killed", None, 1, 1, None, None, 2, None)


def test_two_cells_are_as_good_as_one_that_saw_it_all() -> None:
    one, two, both = Counters(), Counters(), Counters()
    chance = random.Random(1)
    for number in range(2000):
        ledger = (one, two)[number % 3 == 0]
        outcome, seconds = chance.choice(("ok", "ok", "error")), chance.expovariate(20)
        for each in (ledger, both):
            each.message("v3", "websocket", outcome, seconds)  # type: ignore[arg-type]
    summed = aggregate.path_figures("v3", {"a": UP, "b": UP}, [one.tally("v3", 9.0), two.tally("v3", 9.0)], 100.0)
    whole = aggregate.path_figures("v3", {"a": UP}, [both.tally("v3", 9.0)], 100.0)
    assert (summed.messages, summed.errors, summed.error_rate) == (whole.messages, whole.errors, whole.error_rate)
    assert (summed.p50_ms, summed.p99_ms, summed.since) == (whole.p50_ms, whole.p99_ms, 91.0)
    assert (summed.sessions, summed.users, summed.memory_bytes, summed.restarts) == (6, 4, 2000, 2)


def test_a_path_that_is_missing_in_one_cell_is_missing_and_the_cell_is_named() -> None:
    tally = Counters().tally("v3", 1.0)
    figures = aggregate.path_figures("v3", {"a": UP, "b": DOWN}, [tally, tally], 1.0)
    assert (figures.available, figures.unavailable_reason) == (False, "cell b: killed")
    assert (figures.build, figures.memory_bytes, figures.session_memory_bytes) == ("b1", 1000, 10.0)
    alone = aggregate.path_figures("v3", {"a": DOWN}, [tally], 1.0)
    assert alone.unavailable_reason == "killed"


def verdict(word: Word, evidence: float | None) -> VerdictView:
    return VerdictView(guardrail="errors", verdict=word, words="", evidence=evidence, limit=100.0, detail="")


@pytest.mark.parametrize("words", [("pass", "fail"), ("fail", "inconclusive"), ("insufficient_data", "fail")])
def test_the_worst_verdict_counts(words: tuple[Word, Word]) -> None:
    found = aggregate.verdicts([[verdict(words[0], 1.0)], [verdict(words[1], None)]])
    assert [each.verdict for each in found] == ["fail"]
    (most,) = aggregate.verdicts([[verdict("fail", 120.0)], [verdict("fail", 300.0)]])
    assert most.evidence == 300.0


def group(path: PathName, users: list[str], last_at: float = 1.0) -> GroupCount:
    return GroupCount(path, "internal", "f", len(users), pack(users), last_at, last_at, f"r{last_at}")


def test_seen_only_on_v3_is_what_no_cell_has_seen_on_v2() -> None:
    merged = error_groups.merge([[group("v3", ["ann", "bob"])], [group("v2", ["ann"])]])
    assert [(each.path, each.only_on_v3) for each in merged] == [("v3", False), ("v2", False)]


def test_the_same_errors_in_two_cells_are_one_group_and_a_user_counts_once() -> None:
    of_cells = [[group("v3", ["ann", "bob"])], [group("v3", ["bob", "cleo", "dan"], last_at=5.0)]]
    (alone,) = error_groups.merge(of_cells)
    assert (alone.count, alone.users, alone.only_on_v3) == (5, 4, True)
    assert (alone.first_at, alone.last_at, alone.reference) == (1.0, 5.0, "r5.0")
    assert error_groups.users_harmed([*of_cells, [group("v2", ["eve"])]]) == 4


def figures(process: str, messages: int) -> CellFigures:
    ledger = Counters()
    for _ in range(messages):
        ledger.message("v2", "websocket", "ok", 0.01)
    return CellFigures(
        process=process,
        revision=1,
        locked=False,
        percentage=0,
        phase="idle",
        flag_age_s=0.0,
        paths={"v2": UP, "v3": UP},
        tallies={"v2": ledger.tally("v2", 1.0), "v3": ledger.tally("v3", 1.0)},
        slots=ledger.slots,
        moving=0,
        verdicts=[],
    )


def test_the_sum_of_all_ledgers_only_grows_whoever_comes_and_goes() -> None:
    board: dict[str, MemoryBus] = {}
    fleet = Fleet("a", MemoryBus("a", board))
    other = MemoryBus("b", board)
    own = Counters()
    ok = MESSAGES["v2", "websocket", "ok"]

    def total() -> int:
        return fleet.slots(own.slots)[ok]

    own.message("v2", "websocket", "ok", 0.01)
    assert total() == 1
    fleet.hear("b", figures("first", 10))
    assert total() == 1  # what it had counted before is not news
    fleet.hear("b", figures("first", 15))
    assert total() == 6
    fleet.hear("b", figures("second", 2))  # started again
    assert total() == 6
    fleet.hear("b", figures("second", 3))
    assert total() == 7
    other.leave()
    fleet.present()
    assert total() == 7
    assert fleet.names() == ["a"]


def test_charts_are_of_all_cells(tmp_path: Path) -> None:
    now = 100.0
    fleet, own = Fleet("a", MemoryBus("a", {})), Counters()
    history = SeriesHistory(MemoryCell("a", 4), own, sqlite_store(tmp_path), lambda: now, fleet)
    fleet.hear("b", figures("first", 10))
    history.look()
    own.message("v2", "websocket", "ok", 0.01)
    fleet.hear("b", figures("first", 25))
    now = 101.0
    history.look()
    stable = history.series.view("15m", now).paths["v2"]
    assert sum(count or 0 for count in stable.messages) == 16
    assert stable.sessions[-1] == 4 + UP.sessions
