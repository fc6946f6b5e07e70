"""What becomes of a rollback that is in force here when the store says what it has: who made it, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.control.lockfile import UNKNOWN
from app.control.pending import UNREAD, PendingRollback, joined, lifted
from app.control.record import audit_in, entry_of, place_of
from rollout.events import Actor, Rollback, SetPercentage, Start, Unlock
from rollout.machine import advance
from rollout.now import Now
from rollout.state import Lock, Rollout
from rollout.views import AuditEntry

ANN, BOB, EVE = Actor("ann", "manager"), Actor("bob", "oncall"), Actor("eve", "oncall")
NOW, LATER = Now(1_000_000.0, 500.0), Now(1_000_060.0, 560.0)
ORDER = Rollback(actor=BOB, reason="errors")
WAIT_UNTIL = 100.0

# -- what the store may have ------------------------------------------------------------------------------------------

NOTHING = Rollout()
STARTED = advance(NOTHING, Start(actor=ANN, percentage=60, revision=0), Now(999_000.0, 0.0)).state
CHANGED = advance(STARTED, SetPercentage(actor=ANN, percentage=30, revision=1), NOW).state
"""Somebody's command was saved before the rollback."""
LOCKED = advance(STARTED, ORDER, NOW).state
"""The rollback is there already."""
LIFTED = advance(LOCKED, Unlock(actor=ANN, reason="fixed", revision=2, flag_percentage=0), LATER).state
"""It was there, and somebody has lifted its lock."""
NEWER = advance(
    advance(STARTED, Rollback(actor=EVE, reason="slow"), Now(999_500.0, 400.0)).state,
    Unlock(actor=ANN, reason="fixed", revision=2, flag_percentage=0),
    LATER,
).state
"""Another rollback was there and was lifted, so every lock of the generation before is void."""

LOCK = Lock(1, 0, NOW.wall, "bob", True, "errors")
UNSURE = replace(LOCK, generation=UNKNOWN)

# -- who has made it --------------------------------------------------------------------------------------------------


def ordered(lock: Lock = LOCK, base: Rollout = STARTED, *, late: bool = False) -> PendingRollback:
    """This cell was given the command."""
    transition = advance(base, ORDER, NOW)
    audit = audit_in(transition.effects)
    entry = entry_of(audit, "page", base, transition.state, figures=[], now=NOW.wall + 1)
    return PendingRollback(base.revision, transition, ORDER, lock, NOW, entry, late=late)


def late(lock: Lock = LOCK) -> PendingRollback:
    """The same, and the store was away."""
    return ordered(lock, late=True)


def heard(lock: Lock = LOCK, record: Rollout = STARTED) -> PendingRollback:
    """Another cell of the host was given the command."""
    return PendingRollback.heard(lock, record, LATER, WAIT_UNTIL)


def found(lock: Lock = LOCK) -> PendingRollback:
    """An earlier process has left its lock."""
    return PendingRollback.found(lock, LATER)


Make = Callable[[], PendingRollback]


@pytest.mark.parametrize("make", [ordered, late, heard])
def test_over_the_record_that_it_was_decided_on_it_is_saved_as_it_stands(make: Make) -> None:
    pending = make()
    settled = pending.settle(STARTED)
    assert settled.record is pending.transition.state
    assert settled.entry is pending.entry
    assert settled.audit == audit_in(pending.transition.effects)
    assert (settled.record.phase, settled.record.revision, settled.audit.what) == ("rolled_back", 2, "rollback")


@pytest.mark.parametrize(
    ("make", "stored", "revision"),
    [
        (ordered, CHANGED, 3),
        (ordered, LIFTED, 4),
        (ordered, NEWER, 4),
        (lambda: ordered(UNSURE, NOTHING), CHANGED, 3),
        (late, CHANGED, 3),
        (lambda: late(UNSURE), NEWER, 4),
    ],
)
def test_over_another_record_its_entry_says_what_lies_under_it(make: Make, stored: Rollout, revision: int) -> None:
    pending = make()
    settled = pending.settle(stored)
    assert (settled.record.phase, settled.record.percentage, settled.record.revision) == ("rolled_back", 0, revision)
    assert settled.record.generation == stored.generation
    assert settled.record.lock is not None
    assert (settled.record.lock.generation, settled.record.lock.since) == (stored.generation, NOW.wall)
    assert settled.record.last_rollback is not None
    assert settled.record.last_rollback.place.percentage == stored.percentage
    entry = settled.entry
    assert entry is not None
    assert (entry.what, entry.who, entry.source, entry.at, entry.revision) == (
        "rollback",
        "bob",
        "page",
        NOW.wall,
        revision,
    )
    assert (entry.before, entry.after) == (place_of(stored), place_of(settled.record))


@pytest.mark.parametrize(
    ("make", "stored", "what"),
    [
        (ordered, LOCKED, "rollback (already in force)"),
        (late, LOCKED, "rollback"),
        (late, LIFTED, "rollback superseded (generation 0, now 1)"),
        (late, NEWER, "rollback superseded (generation 0, now 1)"),
    ],
)
def test_one_that_changes_nothing_any_more_is_in_the_audit_all_the_same(make: Make, stored: Rollout, what: str) -> None:
    settled = make().settle(stored)
    assert settled.record is stored
    assert settled.entry is not None
    assert (settled.entry.what, settled.entry.revision) == (what, stored.revision)
    assert (settled.entry.before, settled.entry.after) == (place_of(stored), place_of(stored))


@pytest.mark.parametrize(
    ("make", "stored", "revision"),
    [
        (found, STARTED, 2),
        (found, CHANGED, 3),
        (lambda: found(UNSURE), NOTHING, 1),
        (lambda: found(UNSURE), STARTED, 2),
        (lambda: found(UNSURE), LIFTED, 4),
        (lambda: found(UNSURE), NEWER, 4),
        (heard, CHANGED, 3),
        (lambda: heard(UNSURE), CHANGED, 3),
        (lambda: replace(heard(), late=True), CHANGED, 3),
    ],
)
def test_one_that_came_from_elsewhere_is_saved_in_the_name_of_whoever_made_it(
    make: Make, stored: Rollout, revision: int
) -> None:
    settled = make().settle(stored)
    assert (settled.record.phase, settled.record.revision) == ("rolled_back", revision)
    last = settled.record.last_rollback
    assert last is not None
    assert (last.by, last.by_person, last.reason, last.at) == ("bob", True, "errors", NOW.wall)
    assert last.place.percentage == stored.percentage
    assert last.elapsed_s == LATER.elapsed_s, "the time in which it can be undone counts from when it was heard of"
    assert settled.entry is None
    assert settled.audit is not None
    assert (settled.audit.actor.name, settled.audit.what, settled.audit.reason) == ("bob", "rollback", "errors")


@pytest.mark.parametrize(
    ("make", "stored"),
    [
        (heard, LOCKED),
        (heard, LIFTED),
        (heard, NEWER),
        (lambda: heard(UNSURE), LIFTED),
        (lambda: replace(heard(), late=True), LIFTED),
        (found, LOCKED),
        (lambda: found(UNSURE), LOCKED),
    ],
)
def test_one_that_came_from_elsewhere_and_is_known_to_the_store_leaves_nothing_to_write(
    make: Make, stored: Rollout
) -> None:
    settled = make().settle(stored)
    assert settled.record is stored
    assert (settled.entry, settled.audit) == (None, None)


@pytest.mark.parametrize("stored", [LIFTED, NEWER])
def test_a_lock_that_was_found_and_lifted_meanwhile_is_audited_because_nobody_else_does(stored: Rollout) -> None:
    settled = found().settle(stored)
    assert settled.record is stored
    assert settled.entry is None
    assert settled.audit is not None
    assert settled.audit.what == "rollback superseded (generation 0, now 1)"


@pytest.mark.parametrize("make", [found, heard])
def test_a_lock_of_the_evidence_is_no_persons(make: Callable[[Lock], PendingRollback]) -> None:
    pending = make(Lock(1, 0, NOW.wall, "evidence", False, "harm"))
    for record in (pending.transition.state, pending.settle(CHANGED).record):
        assert record.last_rollback is not None
        assert (record.last_rollback.by, record.last_rollback.by_person) == ("evidence", False)


@pytest.mark.parametrize(
    ("make", "stored", "ticks", "left"),
    [
        (heard, STARTED, WAIT_UNTIL - 1, True),
        (heard, CHANGED, WAIT_UNTIL - 1, True),
        (heard, STARTED, WAIT_UNTIL, False),
        (heard, LOCKED, WAIT_UNTIL - 1, False),
        (heard, LIFTED, WAIT_UNTIL - 1, False),
        (heard, NEWER, WAIT_UNTIL - 1, False),
        (ordered, STARTED, 0.0, False),
        (late, STARTED, 0.0, False),
        (found, STARTED, 0.0, False),
    ],
)
def test_for_whom_the_store_is_left_to_hear_of_it(make: Make, stored: Rollout, ticks: float, left: bool) -> None:
    assert make().left_to_its_maker(stored, ticks) is left


@pytest.mark.parametrize("earlier", [ordered, late, heard, found])
@pytest.mark.parametrize("later", [heard, found])
def test_what_is_only_heard_of_adds_nothing_to_what_is_pending(earlier: Make, later: Make) -> None:
    first = earlier()
    assert joined(first, later()) is first


def test_a_second_order_repeats_the_first() -> None:
    first = ordered()
    assert joined(first, ordered(base=CHANGED)) is first


@pytest.mark.parametrize("later", [ordered, heard, found])
def test_with_nothing_pending_it_is_the_new_one(later: Make) -> None:
    rollback = later()
    assert joined(None, rollback) is rollback


@pytest.mark.parametrize("earlier", [heard, found])
@pytest.mark.parametrize("stored", [STARTED, LIFTED])
def test_an_order_after_one_that_was_only_heard_of_holds_whatever_became_of_that(
    earlier: Make, stored: Rollout
) -> None:
    both = joined(earlier(), ordered())
    assert both.base_revision == UNREAD
    settled = both.settle(stored)
    assert (settled.record.phase, settled.record.revision) == ("rolled_back", stored.revision + 1)
    assert isinstance(settled.entry, AuditEntry)


@pytest.mark.parametrize(
    ("record", "was_lifted"), [(STARTED, False), (LOCKED, False), (LIFTED, True), (NEWER, False), (NOTHING, False)]
)
def test_a_lock_is_lifted_where_its_rollback_was_and_is_in_force_no_more(record: Rollout, was_lifted: bool) -> None:
    assert lifted(record, LOCK) is was_lifted
