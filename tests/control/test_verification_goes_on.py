"""What a verification survives: cells that come and go, the rollback's final name, a restart, a store that is late."""

from __future__ import annotations

import asyncio
from time import monotonic

import msgspec
import pytest

from app.control.lockfile import UNKNOWN
from app.control.pending import PendingRollback
from app.control.receipt import Receipt, begin_receipt
from app.control.record import audit_in, entry_of
from app.fleet.bus import CellReport
from rollout.events import Rollback
from rollout.machine import advance
from rollout.now import Now
from rollout.state import LastRollback, Lock, Rollout
from tests.control.verifying import BOB, ID, ROLLED_BACK, STARTED, USERS, WALL, VerifyingCell, begun, clock_ms, done
from tests.fleet.memory_bus import MemoryBus

# -- cells come and go ------------------------------------------------------------------------------------------------


async def test_when_the_leader_goes_away_the_first_that_is_left_adds_up(here: VerifyingCell) -> None:
    here.roll_back(leader="c")
    await here.own_part()
    here.verification.hear("a", done("a", leader="c"))
    here.told("a")
    here.leave("c")
    (report,) = [message for message in here.told("a") if isinstance(message, CellReport)]
    assert (report.leader, report.done) == ("", True), "whoever leads now has to know this cell's report"
    assert (here.verified, here.verification.waits_for()) == (False, {"a"})
    here.leave("a")
    assert here.verified
    assert (here.seen.cells, here.seen.sessions_moved) == (["b"], 2 * USERS)  # what `a` saw stays seen
    assert here.seen.new_stopped_ms is None


async def test_what_a_leader_saw_before_it_went_away_is_not_lost(here: VerifyingCell) -> None:
    here.roll_back(leader="a")
    await here.own_part()
    here.verification.hear("a", done("a", leader="a"))
    here.leave("a")
    assert not here.verified
    here.verification.hear("c", done("c", leader=""))
    assert (here.verified, here.seen.cells, here.seen.sessions_moved) == (True, ["b", "c"], 3 * USERS)


async def test_who_leads_is_learned_from_a_report(here: VerifyingCell) -> None:
    here.roll_back(leader="")
    await here.own_part()
    assert here.verification.waits_for() == {"a", "c"}
    here.verification.hear("a", done("a", leader="c"))
    here.verification.hear("c", done("c", leader="c"))
    assert (here.verification.waits_for(), here.verified) == ({"c"}, False)


async def test_a_leader_that_is_not_there_any_more_is_not_learned(here: VerifyingCell) -> None:
    here.roll_back(leader="")
    await here.own_part()
    here.verification.hear("a", done("a", leader="x"))
    here.verification.hear("c", done("c", leader="x"))
    assert here.verification.waits_for() == {"a"}


async def test_a_cell_that_comes_later_has_to_be_heard_too(here: VerifyingCell) -> None:
    here.roll_back()
    await here.own_part()
    here.verification.hear("a", done("a"))
    MemoryBus("d", here.board)
    here.fleet.present()
    here.told("d")
    here.verification.present()
    (report, _) = here.told("d")
    assert isinstance(report, CellReport)
    here.verification.hear("c", done("c"))
    assert (here.verified, here.verification.waits_for()) == (False, {"d"})
    here.verification.hear("d", done("d"))
    assert here.verified


# -- its final name ---------------------------------------------------------------------------------------------------


async def test_a_rollback_gets_its_final_name_while_reports_come(here: VerifyingCell) -> None:
    commanded_at = monotonic()
    unread = advance(Rollout(), Rollback(actor=BOB, reason="errors"), Now(WALL, 60.0)).state
    sweep = here.roll_back(commanded_at=commanded_at, busy=1, record=unread)
    assert here.receipt.rollback.id == "0-0"
    here.verification.hear("a", done("a"))  # knows the final name already
    here.verification.hear("c", done("c", id="0-0"))  # does not know it yet
    assert here.verification.waits_for() == {"a", "b"}
    here.told("a")
    here.verification.rename(ROLLED_BACK.last_rollback)
    assert (here.receipt.rollback.id, here.receipt.from_percentage) == (ID, 100)
    (report,) = [message for message in here.told("a") if isinstance(message, CellReport)]
    assert (report.rollback, report.done) == (ID, False)
    assert here.verification.waits_for() == {"b", "c"}
    here.cell.finish()
    assert (await here.own_part()).rollback == ID
    assert not here.verified
    here.verification.hear("c", done("c"))
    assert (here.verified, here.seen.id, here.seen.cells) == (True, ID, ["a", "b", "c"])
    assert here.seen.sessions_moved == 3 * USERS
    assert here.seen.new_stopped_ms is not None
    assert here.seen.new_stopped_ms > clock_ms(commanded_at, sweep.at)


async def test_the_same_rollback_under_its_final_name_goes_on(alone: VerifyingCell) -> None:
    unread = advance(Rollout(), Rollback(actor=BOB, reason="errors"), Now(WALL, 60.0)).state
    commanded_at = monotonic()
    first = alone.roll_back(commanded_at=commanded_at, busy=1, record=unread)
    await alone.turns()
    alone.verification.rename(ROLLED_BACK.last_rollback)
    alone.state.adopt(ROLLED_BACK)
    alone.begin(alone.state.publish(rollback=True), leader="b", to_move=1)
    await alone.turns()
    alone.cell.finish()
    report = await alone.own_part()
    assert (report.to_move, report.moved) == (USERS, USERS)
    assert alone.seen.new_stopped_ms == pytest.approx(clock_ms(commanded_at, first.at), abs=1e-6)


async def test_another_rollback_takes_no_name_from_it(alone: VerifyingCell) -> None:
    alone.roll_back()
    last = ROLLED_BACK.last_rollback
    assert last is not None
    for other in (None, LastRollback("2-1", last.at + 1, last.elapsed_s, "ann", True, "", last.place)):
        alone.verification.rename(other)
        assert alone.receipt.rollback.id == ID


# -- earlier processes ------------------------------------------------------------------------------------------------


def earlier(*, moved: int, verified_at: float | None = None, id: str = ID) -> Receipt:
    """What a process that is gone has written down of the rollback."""
    last = ROLLED_BACK.last_rollback
    assert last is not None
    receipt = begin_receipt(last, [])
    rollback = msgspec.structs.replace(
        receipt.rollback,
        id=id,
        sessions_to_move=moved,
        sessions_moved=moved,
        closed=2,
        interrupted=3,
        new_stopped_ms=None if verified_at is None else 1.5,
        verified_at=verified_at,
    )
    return msgspec.structs.replace(receipt, rollback=rollback, users_harmed=7)


@pytest.mark.parametrize("moved", [USERS - 4, USERS + 4])
async def test_what_an_earlier_process_has_counted_stays_counted(alone: VerifyingCell, moved: int) -> None:
    alone.verification.restore(earlier(moved=moved))
    alone.roll_back()
    await alone.own_part()
    seen = alone.seen
    most = max(moved, USERS)
    assert (seen.sessions_to_move, seen.sessions_moved, seen.closed, seen.interrupted) == (most, most, 2, 3)
    assert (alone.verified, alone.receipt.users_harmed) == (True, 7)


async def test_what_an_earlier_process_has_seen_complete_is_not_observed_again(alone: VerifyingCell) -> None:
    receipt = earlier(moved=USERS, verified_at=WALL + 1)
    alone.verification.restore(receipt)
    alone.roll_back()
    await alone.turns()
    assert alone.verification.own_report is None
    assert (alone.receipt, alone.verification.complete) == (receipt, True)


async def test_an_earlier_rollback_is_not_counted_into_this_one(alone: VerifyingCell) -> None:
    alone.verification.restore(earlier(moved=99, verified_at=WALL - 9, id="0-7"))
    alone.roll_back()
    await alone.own_part()
    assert (alone.seen.id, alone.seen.sessions_moved, alone.seen.closed) == (ID, USERS, 0)
    assert alone.verified


# -- what is written down ---------------------------------------------------------------------------------------------


def pending(record: Rollout = ROLLED_BACK) -> PendingRollback:
    """As an order leaves it while its record is on the way to the store."""
    lock = Lock(1, UNKNOWN, WALL, "bob", True, "errors")
    command = Rollback(actor=BOB, reason="errors")
    transition = advance(STARTED, command, Now(WALL, 60.0))
    entry = entry_of(audit_in(transition.effects), "page", STARTED, record, figures=[], now=WALL)
    return PendingRollback(STARTED.revision, transition, command, lock, Now(WALL, 60.0), entry)


async def test_a_receipt_is_written_down_when_the_rollback_is_in_the_store(alone: VerifyingCell) -> None:
    alone.roll_back()
    await alone.own_part()
    await alone.repository.flush()
    stored = await alone.repository.receipt(ID)
    assert stored == alone.receipt
    assert stored.rollback.verified_at is not None


async def test_before_that_it_waits_because_its_name_may_change(alone: VerifyingCell) -> None:
    alone.begin(alone.state.lock(pending()), leader="b")
    await alone.own_part()
    assert alone.verified
    await alone.repository.flush()
    assert await alone.repository.receipt() is None
    alone.state.adopt(ROLLED_BACK)
    await alone.verification.keep(found=False)
    await alone.repository.flush()
    assert await alone.repository.receipt() == alone.receipt


@pytest.mark.parametrize("complete", [True, False])
async def test_a_lock_that_was_found_may_be_of_a_rollback_that_was_seen_complete(
    alone: VerifyingCell, complete: bool
) -> None:
    before = earlier(moved=USERS, verified_at=WALL + 1 if complete else None)
    alone.repository.hold(before)
    await alone.repository.flush()
    alone.roll_back(busy=1)
    own = alone.receipt
    await alone.verification.keep(found=True)
    assert alone.receipt == (before if complete else own)
    await alone.repository.flush()
    assert await alone.repository.receipt(ID) == alone.receipt


async def test_whoever_shows_it_hears_of_every_report(here: VerifyingCell) -> None:
    here.roll_back()
    await here.own_part()
    ticks = aiter(here.notifier.listen())
    for report in (begun("a"), done("a")):
        waiting = asyncio.ensure_future(anext(ticks))
        await here.turns()
        assert not waiting.done()
        here.verification.hear("a", report)
        await here.turns()
        assert waiting.done()


async def test_there_is_nothing_to_show_without_a_rollback(here: VerifyingCell) -> None:
    assert here.verification.rollback() is None
    assert (here.verification.complete, here.verification.waits_for()) == (True, set())
