"""Which buttons who may press, and what each says before the click."""

from __future__ import annotations

import pytest

from dashboards.base.person import Person
from dashboards.sections.controls import controls, effect, why_not
from rollout.names import TokenRole, Verb
from rollout.views import Preview
from tests.dashboards.memory import receipt, rollout


@pytest.mark.parametrize(
    ("role", "verb", "percentage", "reason"),
    [
        ("viewer", "rollback", None, "needs the role oncall; you are viewer"),
        ("oncall", "rollback", None, ""),
        ("oncall", "pause", None, ""),
        ("oncall", "promote", None, "needs the role manager; you are oncall"),
        ("oncall", "set", 5, ""),
        ("oncall", "set", 50, "needs the role manager; you are oncall"),
        ("manager", "set", 50, ""),
        ("manager", "resume", None, "not while progressing"),
        ("viewer", "resume", None, "not while progressing"),
    ],
)
def test_phase_first_then_role(role: TokenRole, verb: Verb, percentage: int | None, reason: str) -> None:
    assert why_not(rollout(), Person("ada", role), verb, percentage) == reason


def test_an_engineer_may_undo_only_their_own_rollback() -> None:
    mine = rollout("rolled_back", 0, last_rollback=receipt(by="ada"))
    theirs = rollout("rolled_back", 0, last_rollback=receipt(by="bo"))
    assert why_not(mine, Person("ada", "oncall"), "undo") == ""
    assert why_not(theirs, Person("ada", "oncall"), "undo") == "only a manager may undo someone else's rollback"
    assert why_not(theirs, Person("cy", "manager"), "undo") == ""


def test_a_verb_the_service_does_not_name_is_not_offered() -> None:
    assert why_not(rollout(allowed={}), Person("ada", "manager"), "rollback") == "not offered now"


@pytest.mark.parametrize(
    ("moves", "text"),
    [
        ((1480, 0, 276, 0), "moves 1,480 users and 276 open sessions to v3, none back"),
        ((0, 1, 0, 1), "moves 1 user and 1 open session back to v2"),
        ((1, 2, 3, 4), "moves 1 user and 3 open sessions to v3, 2 users and 4 open sessions back to v2"),
        ((0, 0, 0, 0), "moves nobody"),
    ],
)
def test_the_effect_names_both_directions(moves: tuple[int, int, int, int], text: str) -> None:
    users_to_v3, users_to_v2, sessions_to_v3, sessions_to_v2 = moves
    preview = Preview(
        percentage=25,
        users_to_v3=users_to_v3,
        users_to_v2=users_to_v2,
        sessions_to_v3=sessions_to_v3,
        sessions_to_v2=sessions_to_v2,
    )
    assert effect(preview) == text


def test_promoting_says_what_it_skips() -> None:
    shown = controls(rollout(), Person("ada", "manager"), {})
    promote = next(control for control in shown.verbs if control.verb == "promote")
    assert (promote.label, promote.note) == ("Promote to 50 %", "now skips 17:56 of baking and 1 open guardrail")


def test_everything_that_is_left_may_be_skipped_and_says_whom_that_moves() -> None:
    preview = Preview(percentage=100, users_to_v3=9000, users_to_v2=0, sessions_to_v3=1620, sessions_to_v2=0)
    shown = {control.key: control for control in controls(rollout(), Person("ada", "manager"), {100: preview}).verbs}
    full = shown["promote-full"]
    assert (full.verb, full.label, full.full) == ("promote", "Promote to 100 % at once", True)
    assert full.note == "skips 1 stage; moves 9,000 users and 1,620 open sessions to v3, none back"


def test_past_the_last_stage_it_is_the_holdback_that_ends() -> None:
    view = rollout(next_percentage=95, plan={"name": "two", "stages": rollout().plan.stages[1::2]})
    shown = {control.key: control for control in controls(view, Person("ada", "manager"), {}).verbs}
    assert shown["promote-full"].note == "holds nobody back on v2"


@pytest.mark.parametrize(("phase", "following"), [("progressing", 100), ("progressing", None), ("idle", 10)])
def test_nothing_is_offered_to_be_skipped_where_nothing_is_left(phase: str, following: int | None) -> None:
    shown = controls(rollout(phase, next_percentage=following), Person("ada", "manager"), {})
    keys = {control.key for control in shown.verbs} | {one.key for group in shown.not_now for one in group.controls}
    assert "promote-full" not in keys


def test_one_reason_is_said_once_for_all_that_it_holds_back() -> None:
    shown = controls(rollout(), Person("ada", "viewer"), {})
    reasons = {group.reason: [control.key for control in group.controls] for group in shown.not_now}
    assert reasons == {
        "needs the role oncall; you are viewer": ["set-0", "custom", "pause"],
        "needs the role manager; you are viewer": ["set-100", "promote", "promote-full"],
        "not while progressing": ["start", "resume", "unlock", "undo"],
    }
    assert (shown.verbs, shown.custom, [control.key for control in shown.presets]) == ([], None, ["set-10"])


def test_the_preset_we_are_at_is_marked_and_moves_nobody() -> None:
    shown = {control.percentage: control for control in controls(rollout(), Person("ada", "manager"), {}).presets}
    assert (shown[10].current, shown[10].enabled, shown[10].note) == (True, False, "where we are now")
    assert shown[0].enabled
    assert shown[100].enabled
