"""What makes a rollback verified: what a cell observes itself, and what the others report, in any order."""

from __future__ import annotations

import asyncio
from itertools import permutations
from time import monotonic

import msgspec
import pytest

from app.control.receipt import Receipt
from app.control.verification import REPORTS
from app.fleet.bus import CellReport, ReceiptSeen
from app.fleet.members import SILENT_S
from tests.control.verifying import ID, USERS, WALL, VerifyingCell, begun, clock_ms, done

# -- this cell's own part ---------------------------------------------------------------------------------------------


async def test_a_cell_that_is_alone_verifies_by_what_it_has_seen_itself(alone: VerifyingCell) -> None:
    commanded_at = monotonic() - 1
    sweep = alone.roll_back(commanded_at=commanded_at, busy=3)
    await alone.until(lambda: alone.seen.sessions_moved == USERS - 3)
    assert (alone.verified, alone.seen.cells, alone.seen.silent_cells) == (False, ["b"], [])
    assert (alone.seen.new_stopped_ms, alone.seen.existing_moved_ms) == (None, None)
    alone.cell.harm(closed=1, interrupted=2)
    finished_at = monotonic()
    alone.cell.finish()
    report = await alone.own_part()
    ended_at = monotonic()
    assert report == CellReport(ID, USERS, USERS, 1, 2, True, [], "b")
    seen = alone.seen
    assert (seen.verified_at, seen.cells, seen.silent_cells) == (WALL + 5, ["b"], [])
    assert (seen.sessions_to_move, seen.sessions_moved, seen.closed, seen.interrupted) == (USERS, USERS, 1, 2)
    assert seen.new_stopped_ms == pytest.approx(clock_ms(commanded_at, sweep.at), abs=1e-6)
    assert seen.existing_moved_ms is not None
    assert clock_ms(commanded_at, finished_at) <= seen.existing_moved_ms <= clock_ms(commanded_at, ended_at)


async def test_its_report_is_told_when_the_rollback_is_in_force_and_when_it_is_complete(here: VerifyingCell) -> None:
    here.counters.error("v3", "internal", "seen before", "r1", "u1", now=1.0)
    here.roll_back(busy=1)
    assert here.observed.is_set()
    here.observed.clear()
    (first,) = [message for message in here.told() if isinstance(message, CellReport)]
    assert (first.rollback, first.to_move, first.moved, first.done, first.leader) == (ID, USERS, 0, False, "b")
    assert [group.fingerprint for group in first.errors] == ["seen before"]
    here.counters.error("v3", "internal", "came later", "r2", "u1", now=2.0)
    await here.turns()
    assert not here.observed.is_set()
    assert here.told() == []
    here.cell.finish()
    await here.own_part()
    assert here.observed.is_set()
    (second,) = [message for message in here.told() if isinstance(message, CellReport)]
    assert (second.moved, second.done, second.errors) == (USERS, True, first.errors)


async def test_without_the_command_a_cell_has_no_clocks(alone: VerifyingCell) -> None:
    alone.roll_back(leader="")
    await alone.own_part()
    assert alone.verified
    assert (alone.seen.new_stopped_ms, alone.seen.existing_moved_ms) == (None, None)


async def test_an_overtaken_sweep_is_swept_again_and_what_all_have_moved_adds_up(alone: VerifyingCell) -> None:
    commanded_at = monotonic()
    first = alone.roll_back(commanded_at=commanded_at, busy=4)
    await alone.turns()
    alone.cell.harm(closed=1, interrupted=1)
    sweeps = len(alone.cell.applied)
    alone.cell.apply(alone.cell.view, rollback=True)
    await alone.until(lambda: len(alone.cell.applied) == sweeps + 2)
    view, rollback = alone.cell.applied[-1]
    assert (view.locked, rollback, alone.verified) == (True, True, False)
    alone.cell.harm(closed=2, interrupted=3)
    alone.cell.finish()
    report = await alone.own_part()
    assert (report.to_move, report.moved, report.closed, report.interrupted) == (USERS, USERS, 3, 4)
    assert alone.verified
    assert alone.seen.new_stopped_ms == pytest.approx(clock_ms(commanded_at, first.at), abs=1e-6)


async def test_what_a_sweep_moved_counts_even_if_it_was_overtaken_before_anybody_looked(alone: VerifyingCell) -> None:
    alone.roll_back(busy=3)
    alone.cell.harm(closed=1, interrupted=2)
    for _ in range(2):  # pins, say, changed twice in the same turn
        alone.cell.apply(alone.cell.view, rollback=True)
    alone.cell.finish()
    report = await alone.own_part()
    assert (report.to_move, report.moved, report.closed, report.interrupted) == (USERS, USERS, 1, 2)


async def test_an_admission_under_a_later_sweep_is_when_new_ones_have_stopped(alone: VerifyingCell) -> None:
    commanded_at = monotonic()
    alone.roll_back(commanded_at=commanded_at, busy=1)
    await alone.turns()
    sweeps = len(alone.cell.applied)
    alone.cell.apply(alone.cell.view, rollback=True)
    await alone.until(lambda: len(alone.cell.applied) == sweeps + 2)
    alone.cell.slip_in("late")
    alone.cell.finish()
    await alone.own_part()
    seen = alone.seen
    stopped_ms = clock_ms(commanded_at, alone.cell.last_admission_at)
    assert seen.new_stopped_ms == pytest.approx(stopped_ms, abs=1e-6)
    assert seen.existing_moved_ms is not None
    assert seen.existing_moved_ms >= stopped_ms
    assert (seen.sessions_to_move, seen.sessions_moved) == (USERS + 1, USERS + 1)


async def test_the_same_rollback_again_goes_on_with_its_first_receipt_and_clock(alone: VerifyingCell) -> None:
    commanded_at = monotonic() - 1
    first = alone.roll_back(commanded_at=commanded_at, busy=2)
    await alone.turns()
    again = alone.state.publish(rollback=True)
    alone.begin(again, leader="b", commanded_at=monotonic(), to_move=2)
    alone.cell.finish()
    report = await alone.own_part()
    assert (report.to_move, report.moved) == (USERS, USERS)
    assert alone.seen.new_stopped_ms == pytest.approx(clock_ms(commanded_at, first.at), abs=1e-6)


async def test_a_stop_leaves_it_unverified(alone: VerifyingCell) -> None:
    alone.roll_back(busy=1)
    await alone.turns()
    await alone.verification.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    alone.cell.finish()
    await alone.turns()
    assert alone.verification.own_report is None
    assert alone.verification.complete
    assert alone.verification.waits_for() == set()
    assert alone.seen.verified_at is None
    assert alone.receipt.rollback.verified_at is None


# -- the other cells --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations("abc")))
async def test_reports_count_in_any_order_and_the_last_one_verifies(
    here: VerifyingCell, order: tuple[str, ...]
) -> None:
    here.roll_back(busy=1)
    here.verification.hear("a", begun("a"))
    here.verification.hear("c", begun("c"))
    for name in order:
        assert not here.verified
        assert name in here.verification.waits_for()
        if name == "b":
            here.cell.finish()
            await here.own_part()
        else:
            here.verification.hear(name, done(name, moved=4, closed=1))
    seen = here.seen
    assert (seen.verified_at, seen.cells) == (WALL + 5, ["a", "b", "c"])
    assert (seen.sessions_moved, seen.closed, seen.interrupted) == (USERS + 8, 2, 2)
    assert {group.fingerprint for group in here.receipt.errors_only_on_v3} == {"only in a", "only in c"}


async def test_the_clocks_run_until_the_last_cell_is_heard(here: VerifyingCell) -> None:
    commanded_at = monotonic()
    here.roll_back(commanded_at=commanded_at)
    here.verification.hear("a", done("a"))
    await here.own_part()
    before_c = monotonic()
    here.verification.hear("c", begun("c"))
    after_c = monotonic()
    before_end = monotonic()
    here.verification.hear("c", done("c"))
    after_end = monotonic()
    seen = here.seen
    assert seen.new_stopped_ms is not None
    assert clock_ms(commanded_at, before_c) <= seen.new_stopped_ms <= clock_ms(commanded_at, after_c)
    assert seen.existing_moved_ms is not None
    assert clock_ms(commanded_at, before_end) <= seen.existing_moved_ms <= clock_ms(commanded_at, after_end)


async def test_what_a_cell_says_again_is_as_old_as_it_was(here: VerifyingCell) -> None:
    commanded_at = monotonic()
    here.roll_back(commanded_at=commanded_at)
    await here.own_part()
    here.verification.hear("c", done("c"))
    before = monotonic()
    here.verification.hear("c", done("c", moved=USERS + 1))
    here.leave("a")
    seen = here.seen
    assert (here.verified, seen.sessions_moved) == (True, 2 * USERS + 1)
    assert seen.new_stopped_ms is not None
    assert seen.existing_moved_ms is not None
    assert max(seen.new_stopped_ms, seen.existing_moved_ms) <= clock_ms(commanded_at, before)


async def test_a_lock_that_is_in_force_for_long_does_not_keep_the_reports_of_all_cells_that_ever_were(
    here: VerifyingCell,
) -> None:
    here.roll_back()
    await here.own_part()
    for number in range(REPORTS + 50):
        here.verification.hear(f"gone{number}", done(f"gone{number}", moved=1))
    assert len(here.verification._reports) == REPORTS
    here.verification.hear("a", done("a"))
    here.verification.hear("c", done("c"))
    assert here.verified, "the reports of those that are there were kept"
    assert here.seen.cells == ["a", "b", "c"]


async def test_a_report_of_another_rollback_is_no_part_of_this_one(here: VerifyingCell) -> None:
    here.roll_back()
    await here.own_part()
    here.verification.hear("a", done("a"))
    here.verification.hear("c", done("c", id="0-0"))
    assert (here.verified, here.seen.cells, here.seen.silent_cells) == (False, ["a", "b"], ["c"])
    here.verification.hear("c", done("c"))
    assert here.verified


async def test_a_cell_that_says_nothing_is_named_and_nothing_is_verified(here: VerifyingCell) -> None:
    here.roll_back()
    await here.own_part()
    here.verification.hear("a", done("a"))
    assert here.verification.waits_for() == {"c"}
    assert (here.seen.cells, here.seen.silent_cells, here.verified) == (["a", "b"], ["c"], False)
    assert not here.verification.complete
    here.verification.hear("c", begun("c"))
    assert (here.seen.cells, here.seen.silent_cells) == (["a", "b", "c"], [])
    here.ticks += SILENT_S
    here.fleet.hear("a")
    assert (here.seen.silent_cells, here.verified) == (["c"], False)
    here.fleet.hear("c")
    assert here.seen.silent_cells == []
    here.verification.hear("c", done("c"))
    assert (here.verified, here.seen.silent_cells, here.verification.complete) == (True, [], True)


async def test_whoever_was_given_the_command_is_named_when_it_is_silent_though_all_is_done(here: VerifyingCell) -> None:
    here.roll_back(leader="c")
    await here.own_part()
    here.verification.hear("a", done("a", leader="c"))
    here.verification.hear("c", done("c", leader="c"))
    assert here.verification.waits_for() == {"c"}
    assert (here.verified, here.seen.silent_cells) == (False, [])
    here.ticks += SILENT_S
    assert here.seen.silent_cells == ["c"]


async def test_what_another_leader_has_added_up_is_taken_over(here: VerifyingCell) -> None:
    here.roll_back(leader="a")
    await here.own_part()
    rollback = msgspec.structs.replace(here.receipt.rollback, sessions_moved=3 * USERS, verified_at=WALL + 1)
    added = msgspec.structs.replace(here.receipt, rollback=rollback)
    here.verification.hear_receipt(added)
    assert here.receipt == added
    assert (here.seen, here.verification.waits_for()) == (rollback, set())
    here.verification.hear_receipt(msgspec.structs.replace(added, users_harmed=9))
    assert here.receipt == added, "what is verified is not counted again"


async def test_whoever_leads_takes_nobody_elses_sum(here: VerifyingCell) -> None:
    here.roll_back()
    await here.own_part()
    rollback = msgspec.structs.replace(here.receipt.rollback, verified_at=WALL + 1)
    here.verification.hear_receipt(msgspec.structs.replace(here.receipt, rollback=rollback))
    assert not here.verified


async def test_a_leader_tells_what_it_has_added_up(here: VerifyingCell) -> None:
    here.roll_back()
    await here.own_part()
    here.verification.hear("a", done("a"))
    here.told("c")
    here.verification.hear("c", done("c"))
    (message,) = here.told("c")
    assert isinstance(message, ReceiptSeen)
    assert msgspec.json.decode(message.receipt, type=Receipt) == here.receipt
