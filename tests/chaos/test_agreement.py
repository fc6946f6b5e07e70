"""The judges of the proofs: a story that fits is let through, and each way in which it may not fit is named."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from ops.chaos.agreement import Given, contradictions
from ops.chaos.arrivals import admitted_to, last_by_old_rule_ms
from ops.chaos.figures import equal, held, said, timed
from rollout.state import Lock, Rollout
from rollout.views import AuditEntry, SessionView

IDLE = {"phase": "idle", "percentage": 0, "stage": None}
HALF = {"phase": "paused", "percentage": 50, "stage": None}
LOCKED = {"phase": "rolled_back", "percentage": 0, "stage": None}


def entry(revision: int, what: str, reason: str, before: dict[str, object], after: dict[str, object]) -> AuditEntry:
    return AuditEntry(
        id=revision, at=1.0, who="ann", role="manager", source="api", what=what, reason=reason, revision=revision,
        before=before, after=after, figures={},
    )  # fmt: skip


SET = entry(1, "start 50 %", "one", IDLE, HALF)
BACK = entry(2, "rollback", "two", HALF, LOCKED)
AGAIN = entry(2, "rollback (already in force)", "three", LOCKED, LOCKED)
UNLOCK = entry(3, "unlock", "four", LOCKED, IDLE)
STORY = [SET, BACK, AGAIN, UNLOCK]
COMMANDS = [
    Given("percentage", "one", 50, 200),
    Given("rollback", "two", 0, 200),
    Given("rollback", "three", 0, 200),
    Given("percentage", "refused", 70, 412),
    Given("unlock", "four", 0, 200),
    Given("rollback", "cut off", 0, None),
]
ENDED = replace(Rollout(), revision=3)
HELD = replace(Rollout(), revision=2, phase="rolled_back", lock=Lock(0, 2, 1.0, "ann", True, "two"))


def test_a_story_that_fits_is_let_through() -> None:
    assert contradictions(ENDED, STORY, COMMANDS, locked=False) == []
    assert contradictions(Rollout(), [], [], locked=False) == []


@pytest.mark.parametrize(
    ("audit", "word"),
    [
        ([SET, BACK, AGAIN], "the record has revision 3; missing, or more than once, in the audit: [3]"),
        ([SET, AGAIN, UNLOCK], "[2]"),
        ([SET, BACK, AGAIN, UNLOCK, UNLOCK], "[3]"),
        ([SET, msgspec.structs.replace(BACK, before=IDLE), AGAIN, UNLOCK], "revision 2 (rollback) began at"),
        ([SET, BACK, AGAIN, msgspec.structs.replace(UNLOCK, what="set 0 %")], "was left by 'set 0 %'"),
        ([SET, BACK, AGAIN, msgspec.structs.replace(UNLOCK, after=HALF)], "and the record says"),
    ],
    ids=["the last is missing", "one is missing", "one is there twice", "an update is lost", "a lock is forgotten",
         "the end is another"],
)  # fmt: skip
def test_an_audit_that_does_not_lead_to_the_record_is_named(audit: list[AuditEntry], word: str) -> None:
    assert any(word in wrong for wrong in contradictions(ENDED, audit, [], locked=False))


def test_a_phase_without_its_lock_is_named() -> None:
    wrong = contradictions(replace(HELD, lock=None), [SET, BACK], [], locked=False)
    assert wrong == ["phase rolled_back with lock None"]


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (Given("percentage", "gone", 10, 200), "is lost"),
        (Given("rollback", "gone", 0, 200), "is lost"),
        (Given("percentage", "one", 40, 200), "became 'start 50 %'"),
        (Given("rollback", "four", 0, None), "became 'unlock'"),
        (Given("unlock", "four", 0, 412), "is in force all the same"),
    ],
)
def test_a_promise_that_is_not_kept_is_named(command: Given, word: str) -> None:
    (wrong,) = contradictions(ENDED, STORY, [command], locked=False)
    assert word in wrong


def test_a_command_that_was_done_twice_is_named() -> None:
    twice = msgspec.structs.replace(UNLOCK, reason="two")
    (wrong,) = contradictions(ENDED, [SET, BACK, AGAIN, twice], [Given("rollback", "two", 0, 200)], locked=False)
    assert "was done 2 times" in wrong


def test_until_the_service_starts_again_a_lock_on_the_disk_is_enough_for_a_rollback() -> None:
    answered = Given("rollback", "only on the disk", 0, 200)
    assert contradictions(ENDED, STORY, [answered], locked=True) == []
    assert len(contradictions(ENDED, STORY, [answered], locked=False)) == 1


def test_what_was_being_saved_when_a_rollback_came_is_refused_and_lies_under_it() -> None:
    refused = Given("percentage", "one", 50, 412)
    assert contradictions(HELD, [SET, BACK], [refused], locked=False) == []
    saved = replace(Rollout(), revision=1, phase="paused", percentage=50)
    assert contradictions(saved, [SET], [refused], locked=True) == []
    assert len(contradictions(saved, [SET], [refused], locked=False)) == 1


def session(cell: str, path: str, epoch: int, connected_at: float) -> SessionView:
    return msgspec.convert(
        {
            "connection_id": "c", "user_id": "u", "path": path, "reason": "flag", "state": "active", "cell": cell,
            "connected_at": connected_at, "messages": 0, "queued": 0, "epoch": epoch,
        },
        SessionView,
    )  # fmt: skip


def test_a_session_was_admitted_to_the_path_before_its_first_handover() -> None:
    assert [admitted_to(session("a", "v3", epoch, 0.0)) for epoch in (1, 2, 3)] == ["v3", "v2", "v3"]


def test_the_last_admission_by_the_old_rule_counts_in_each_cell_that_has_admitted_by_the_new_one() -> None:
    seen = [
        session("a", "v3", 2, 99.0),
        session("a", "v3", 2, 100.25),
        session("a", "v3", 1, 100.5),
        session("b", "v3", 2, 99.5),
        session("b", "v3", 1, 100.125),
        session("c", "v3", 2, 100.75),
    ]
    assert last_by_old_rule_ms(seen, "v2", 100.0) == {"a": 250.0, "b": 0.0}


def test_figures_say_whether_a_promise_is_kept() -> None:
    fast = timed("p", "asked", [1.0, 2.0, 9.0], "ms", must=10, aim=5)
    assert (fast.seen, fast.verdict) == ("median 2 ms, worst 9 ms of 3", "pass")
    assert fast.target == "< 10 ms, aim < 5 ms (reached by the median)"
    assert timed("p", "asked", [1.0, 10.0], "ms", must=10).verdict == "MISSED"
    assert timed("p", "asked", [1.0], "ms").verdict == "reported"
    assert held("p", "asked", "seen", [], "kept").verdict == "pass"
    assert held("p", "asked", "seen", ["wrong"], "kept").verdict == "MISSED"
    assert [equal("p", "asked", seen, 4).verdict for seen in (4, 0)] == ["pass", "MISSED"]
    assert said("p", "asked", "c silent for 4 s", "c silent for", never=["verified"]).verdict == "pass"
    assert said("p", "asked", "c silent, verified", "c silent", never=["verified"]).verdict == "MISSED"
    assert said("p", "asked", "nothing", "c silent").verdict == "MISSED"
