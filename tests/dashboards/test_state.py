"""The sentence that says where we are, and the receipt: nothing is claimed that was not observed."""

from __future__ import annotations

import msgspec
import pytest

from dashboards.base.page import Fact, top
from dashboards.sections.rollback import rollback
from dashboards.sections.state import state
from rollout import formats
from rollout.views import CellState, StageView
from tests.dashboards.memory import NO_FIGURES, NOW, path, receipt, rollout


@pytest.mark.parametrize(
    ("phase", "percentage", "title", "headline"),
    [
        ("idle", 0, "○ 0 % idle", "Everyone is on v2"),
        ("progressing", 10, "● 10 % baking", "10 % of users on v3"),
        ("paused", 33, "◐ 33 % paused", "33 % of users on v3"),
        ("completed", 100, "✓ 100 % completed", "Everyone is on v3"),
        ("rolled_back", 0, "■ rolled back", "Everyone is on v2"),
    ],
)
def test_title_and_headline_of_each_phase(phase: str, percentage: int, title: str, headline: str) -> None:
    shown = state(rollout(phase, percentage))
    assert (shown.title, shown.headline, shown.icon) == (title, headline, phase)


def test_until_a_rollback_is_verified_nobody_reads_that_everyone_is_on_v2() -> None:
    moving = receipt(verified_at=None, sessions_moved=120, existing_moved_ms=None)
    view = rollout("rolled_back", 0, last_rollback=moving)
    shown, panel = state(view), rollback(view, "")
    assert (shown.headline, shown.title, shown.icon) == ("Rolling back to v2", "■ rolling back", "rolling_back")
    assert "120 of 186 sessions moved" in shown.next
    assert panel.receipt is not None
    assert (panel.receipt.headline, panel.receipt.tone) == ("In force, not verified yet: moving 120 of 186", "warn")
    assert Fact("last session moved after", "not yet known", "none") in panel.receipt.facts
    assert (panel.label, panel.enabled) == ("Roll back again", True)


FULL = "not on disk: no space"


@pytest.mark.parametrize(
    ("verified_at", "headline", "panel_says"),
    [
        (NOW - 1, f"Everyone is on v2, {FULL}", f"Verified {formats.clock(NOW - 1)}, {FULL}"),
        (None, f"Rolling back to v2, {FULL}", f"In force, not verified yet, {FULL}"),
    ],
)
def test_what_would_not_outlast_a_crash_is_said_where_one_looks(
    verified_at: float | None, headline: str, panel_says: str
) -> None:
    usual = rollout("rolled_back", 0)
    assert usual.lock is not None
    lock = msgspec.structs.replace(usual.lock, durable=False, durability=FULL)
    done = receipt(verified_at=verified_at, durable=False, durability=FULL)
    view = rollout("rolled_back", 0, lock=lock, last_rollback=done)
    shown, panel = state(view), rollback(view, "").receipt
    assert panel is not None
    assert (shown.headline, panel.headline, panel.tone) == (headline, panel_says, "bad")
    assert Fact("durable", f"no: {FULL}", "bad") in panel.facts
    assert any(note.label == "Not durable" and note.value.startswith(FULL) for note in shown.notes)
    assert FULL in shown.next.lower()
    assert FULL not in str((state(usual), rollback(usual, "")))


def test_where_the_lock_is_kept_is_said() -> None:
    usual = rollout("rolled_back", 0)
    assert usual.lock is not None
    kept = "on this host's disk and in the store"
    panel = rollback(rollout("rolled_back", 0, lock=msgspec.structs.replace(usual.lock, durability=kept)), "").receipt
    assert panel is not None
    assert Fact("lock kept", kept) in panel.facts


def test_a_silent_cell_is_named_and_never_counted_as_verified() -> None:
    cells = [
        *(CellState(name=name, revision=17, sessions=1, silent_s=0.1, silent=False, has_lock=True) for name in "abc"),
        CellState(name="d", revision=17, sessions=1, silent_s=12.4, silent=True, has_lock=False),
    ]
    done = receipt(verified_at=None, cells=["a", "b", "c"], silent_cells=["d"])
    view = rollout("rolled_back", 0, last_rollback=done, cells=cells)
    panel = rollback(view, "").receipt
    assert panel is not None
    assert (panel.headline, panel.silent, panel.tone) == (
        "In force in 3 of 4 cells, not verified",
        "d silent for 12 s",
        "bad",
    )
    assert "d silent for 12 s" in state(view).next
    assert top(view).cells == Fact("Cells", "1 of 4 cells: d silent for 12 s", "bad")


def test_a_verified_rollback_shows_both_clocks_closed_and_interrupted() -> None:
    view = rollout("rolled_back", 0)
    panel = rollback(view, "")
    assert state(view).next == (
        "Verified 14:13:19 UTC. 186 of 186 sessions moved in 41 ms, no new session on v3 after 3.1 ms, "
        "0 sockets closed, 1 message interrupted."
    )
    assert panel.receipt is not None
    assert [(fact.label, fact.value) for fact in panel.receipt.facts] == [
        ("sessions moved", "186 of 186"),
        ("no new v3 session after", "3.1 ms"),
        ("last session moved after", "41 ms"),
        ("sockets closed", "0"),
        ("messages interrupted", "1"),
        ("in force in", "2 of 2 cells"),
    ]
    assert (panel.label, panel.enabled, panel.receipt.tone) == ("Rolled back", False, "good")


def test_a_closed_socket_is_not_coloured_like_none() -> None:
    panel = rollback(rollout("rolled_back", 0, last_rollback=receipt(closed=2)), "").receipt
    assert panel is not None
    assert Fact("sockets closed", "2", "bad") in panel.facts


def test_a_lock_without_a_report_says_that_nothing_is_verified() -> None:
    view = rollout("rolled_back", 0, last_rollback=None)
    assert state(view).headline == "Rolling back to v2"
    assert "nothing is verified" in state(view).next
    assert rollback(view, "").enabled


def test_after_an_unlock_the_last_rollback_is_history_not_news() -> None:
    panel = rollback(rollout("idle", 0, last_rollback=receipt()), "")
    assert panel.enabled
    assert panel.receipt is not None
    assert (panel.receipt.tone, panel.receipt.headline) == ("plain", "Last rollback, 14:13:18 UTC")
    assert panel.receipt.summary == "186 of 186 sessions moved in 41 ms, 0 sockets closed"
    assert panel.receipt.past


@pytest.mark.parametrize(
    ("stage", "next_at", "sentence"),
    [
        ("automatic", NOW + 1076, "Next: 50 % in 17:56, once every guardrail passes."),
        ("automatic", NOW - 1, "Next: 50 %, once every guardrail passes."),
        ("person", NOW + 1076, "Next: 50 %, when a person promotes; 17:56 of baking left."),
        ("person", NOW - 1, "Baking is over: 50 % waits for a person to promote."),
        ("person", None, "Next: 50 %, when a person promotes."),
    ],
)
def test_what_is_next_says_when_and_who(stage: str, next_at: float | None, sentence: str) -> None:
    view = rollout(next_at=next_at)
    stages = [StageView(percentage=10, bake_s=1.0, advance="person" if stage == "person" else "automatic")] * 2
    view = rollout(next_at=next_at, plan={"name": view.plan.name, "stages": stages})
    assert state(view).next == sentence


def test_what_is_missing_is_listed_with_its_words() -> None:
    assert state(rollout()).missing == ["shown not worse: too early: about 31 more users"]


def test_forced_by_the_environment_beats_the_percentage_in_the_headline() -> None:
    shown = state(rollout(forced=True))
    assert shown.headline == "Everyone is on v3, forced by the environment"
    assert any(note.label == "Forced" and "=true" in note.value for note in shown.notes)
    assert state(rollout("rolled_back", 0, forced=True)).headline == "Everyone is on v2"


def test_what_has_to_be_known_of_the_builds_is_on_the_page() -> None:
    notes = ["v3 runs build b7 in a and build b8 in b", "v3 is served from shop.v4:create"]
    shown = state(rollout(build_notes=notes))
    assert [note for note in shown.notes if note.label == "Builds"] == [Fact("Builds", note, "warn") for note in notes]
    assert "Builds" not in {note.label for note in state(rollout()).notes}


def test_sessions_that_are_elsewhere_are_said_beside_everyone() -> None:
    shown = state(rollout("idle", 0, paths=[path("v2"), path("v3", sessions=2)]))
    assert Fact("Except", "2 open sessions on v3: pinned, or not moved yet", "warn") in shown.notes


def test_nobody_connected_has_no_share_and_missing_figures_are_no_data() -> None:
    empty = state(rollout(paths=[path("v2", **NO_FIGURES), path("v3", **NO_FIGURES)])).shares[0]
    assert (empty.v3_percent, empty.v3_share) == (None, "")
    assert state(rollout(paths=[path("v2")])).shares[0].v3 == "no data"
