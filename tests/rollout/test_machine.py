"""The verb table, row by row: what each command does, where it is refused, and what time does by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.errors import (
    BadPercentage,
    FlagNotZero,
    NotAllowed,
    NotInPhase,
    ReasonMissing,
    Refused,
    RevisionMissing,
    StaleRevision,
)
from rollout.events import (
    EVIDENCE,
    Actor,
    ApplyPlan,
    Audit,
    Event,
    Load,
    LockFound,
    NewEpoch,
    Notify,
    Pause,
    Promote,
    Publish,
    Resume,
    Rollback,
    SetPercentage,
    SettingSeen,
    Start,
    Tick,
    Transition,
    Undo,
    Unlock,
    WriteFlag,
)
from rollout.guardrails import BUILT_IN
from rollout.machine import advance
from rollout.names import PHASES, VERBS, Phase, Verb, Verdict
from rollout.permissions import allowed
from rollout.plan import QUICK_PLAN, Plan, Stage
from rollout.record import from_dict, to_dict
from rollout.schedule import FreezeOnce
from rollout.state import Lock, Rollout
from tests.rollout.steps import ADA, AUTOMATIC, NOW, OLE, PASSING, VIC, WALL, command, follow, in_phase, later

# phase → verb → (phase, percentage) afterwards; what is not here is refused. Every record was started at 10 %.
TABLE: dict[Phase, dict[Verb, tuple[Phase, int]]] = {
    "idle": {
        "start": ("progressing", 0),
        "set": ("progressing", 30),
        "rollback": ("rolled_back", 0),
        "plan": ("idle", 0),
    },
    "progressing": {
        "set": ("paused", 30),
        "promote": ("progressing", 100),
        "pause": ("paused", 10),
        "rollback": ("rolled_back", 0),
        "plan": ("progressing", 10),
    },
    "paused": {
        "set": ("paused", 30),
        "promote": ("progressing", 100),
        "resume": ("progressing", 10),
        "rollback": ("rolled_back", 0),
        "plan": ("paused", 10),
    },
    "completed": {"rollback": ("rolled_back", 0), "plan": ("completed", 100)},
    "rolled_back": {
        "rollback": ("rolled_back", 0),
        "undo": ("progressing", 10),
        "unlock": ("idle", 0),
        "plan": ("rolled_back", 0),
    },
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("verb", VERBS)
def test_the_verb_table(phase: Phase, verb: Verb) -> None:
    state = in_phase(phase)
    expected = TABLE[phase].get(verb)
    assert (allowed(state, NOW)[verb] == "") is (expected is not None)
    if expected is None:
        with pytest.raises(NotInPhase) as caught:
            advance(state, command(verb, state), NOW)
        assert (caught.value.verb, caught.value.phase) == (verb, phase)
        return
    after = advance(state, command(verb, state), NOW).state
    assert (after.phase, after.percentage) == expected
    idempotent = verb == "rollback" and phase == "rolled_back"
    assert after.revision == state.revision + (0 if idempotent else 1)
    assert (after.lock is not None) == (after.phase == "rolled_back")


def test_every_command_says_who_and_why() -> None:
    state = follow(Rollout(), Start(actor=ADA, revision=0, reason="try it"))
    assert (state.changed_by, state.changed_what, state.reason) == ("ada", "start 0 %", "try it")
    assert (state.changed_at, state.elapsed_s) == (NOW.wall, NOW.elapsed_s)
    assert state.id == 1


def test_effects_of_a_move() -> None:
    change = advance(in_phase("progressing"), SetPercentage(actor=ADA, revision=1, percentage=30, reason="slowly"), NOW)
    assert change.effects == (Publish(), WriteFlag(30), NewEpoch(), Audit(ADA, "set 30 %", "slowly"))


def test_pausing_moves_nobody() -> None:
    change = advance(in_phase("progressing"), Pause(actor=OLE, revision=1), NOW)
    assert change.effects == (Audit(OLE, "pause", ""),)


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_stale_command_learns_who_did_what() -> None:
    state = follow(in_phase("progressing"), SetPercentage(actor=ADA, revision=1, percentage=30))
    words = r"ada did set 30 % at 1970-01-12 13:46:40 UTC \(revision 2, the command is based on 1\)"
    with pytest.raises(StaleRevision, match=words) as caught:
        advance(state, Promote(actor=Actor("bob", "manager"), revision=1), NOW)
    assert (caught.value.expected, caught.value.actual, caught.value.who) == (1, 2, "ada")
    assert caught.value.at == state.changed_at


def test_a_command_on_a_revision_that_never_was_is_told_so() -> None:
    with pytest.raises(StaleRevision, match=r"the rollout was never changed \(revision 0, the command is based on 3\)"):
        advance(Rollout(), Start(actor=ADA, revision=3), NOW)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "rollback"])
def test_all_but_a_rollback_say_on_what_they_are_based(verb: Verb) -> None:
    state = in_phase("progressing")
    event = command(verb, state)
    assert not isinstance(event, Load | LockFound | SettingSeen | Tick)
    with pytest.raises(RevisionMissing):
        advance(state, replace(event, revision=None), NOW)
    with pytest.raises(StaleRevision):
        advance(state, replace(event, revision=state.revision + 1), NOW)


@pytest.mark.parametrize("value", [-1, 101, 10.0, True, "10", None])
@pytest.mark.parametrize("phase", ["idle", "progressing"])
def test_a_bad_percentage(value: object, phase: Phase) -> None:
    state = in_phase(phase)
    event = SetPercentage(actor=ADA, revision=state.revision, percentage=0)
    object.__setattr__(event, "percentage", value)  # as a caller would that did not look at its JSON
    with pytest.raises(BadPercentage, match="a whole number from 0 to 100 is allowed"):
        advance(state, event, NOW)


@pytest.mark.parametrize(
    ("actor", "event", "permitted"),
    [
        (OLE, Pause(actor=OLE, revision=1), True),
        (OLE, SetPercentage(actor=OLE, revision=1, percentage=9), True),
        (OLE, SetPercentage(actor=OLE, revision=1, percentage=10), False),
        (OLE, SetPercentage(actor=OLE, revision=1, percentage=11), False),
        (OLE, Promote(actor=OLE, revision=1), False),
        (OLE, ApplyPlan(actor=OLE, revision=1, plan=QUICK_PLAN), False),
        (OLE, Rollback(actor=OLE), True),
        (VIC, Rollback(actor=VIC), False),
        (VIC, Pause(actor=VIC, revision=1), False),
        (VIC, SetPercentage(actor=VIC, revision=1, percentage=0), False),
    ],
)
def test_roles(actor: Actor, event: Event, permitted: bool) -> None:
    if permitted:
        assert advance(in_phase("progressing"), event, NOW).state.changed_by == actor.name
        return
    with pytest.raises(NotAllowed, match=actor.name):
        advance(in_phase("progressing"), event, NOW)


def test_on_call_may_not_start_resume_or_unlock() -> None:
    for state, event in (
        (in_phase("idle"), Start(actor=OLE, revision=0)),
        (in_phase("idle"), SetPercentage(actor=OLE, revision=0, percentage=0)),
        (in_phase("paused"), Resume(actor=OLE, revision=2)),
        (in_phase("rolled_back"), Unlock(actor=OLE, revision=2, reason="fixed", flag_percentage=0)),
    ):
        with pytest.raises(NotAllowed, match="it needs the role manager"):
            advance(state, event, NOW)


# --- rollback, undo, unlock -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_rollback_wins_from_every_phase_and_needs_no_revision(phase: Phase) -> None:
    before = in_phase(phase)
    once = advance(before, Rollback(actor=OLE, reason="errors", revision=-7), NOW)
    assert (once.state.phase, once.state.percentage) == ("rolled_back", 0)
    assert once.effects[:2] == (Publish(rollback=True), WriteFlag(0))
    twice = advance(once.state, Rollback(actor=ADA), later(1))
    assert twice.state == once.state
    assert twice.effects[:2] == (Publish(rollback=True), WriteFlag(0))
    if phase != "rolled_back":
        assert once.state.lock == Lock(before.id, before.generation, WALL, "ole", True, "errors")


def test_set_after_a_rollback_says_unlock_first() -> None:
    state = in_phase("rolled_back")
    with pytest.raises(NotInPhase, match="unlock first"):
        advance(state, SetPercentage(actor=ADA, revision=state.revision, percentage=5), NOW)


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "rolled_back"])
def test_undo_goes_back_to_where_it_was(phase: Phase) -> None:
    before = in_phase(phase)
    state = follow(before, Rollback(actor=ADA), now=later(30))
    back = follow(state, Undo(actor=ADA, revision=state.revision), now=later(90))
    assert (back.phase, back.percentage, back.stage) == (before.phase, before.percentage, before.stage)
    assert back.baked(later(90)) == before.baked(later(30)), "what was baked counts, the time rolled back does not"
    assert back.lock is None and back.generation == before.generation + 1


@pytest.mark.parametrize(
    ("by", "undone_by", "after_s", "refusal"),
    [
        (OLE, OLE, 600, None),
        (OLE, ADA, 1, None),
        (ADA, OLE, 1, NotAllowed),
        (OLE, Actor("per", "oncall"), 1, NotAllowed),
        (OLE, OLE, 601, NotInPhase),
        (EVIDENCE, ADA, 1, NotInPhase),
        (EVIDENCE, OLE, 1, NotAllowed),
    ],
)
def test_who_may_undo_and_how_long(by: Actor, undone_by: Actor, after_s: float, refusal: type[Refused] | None) -> None:
    state = follow(in_phase("progressing"), Rollback(actor=by))
    event = Undo(actor=undone_by, revision=state.revision)
    if refusal is None:
        assert follow(state, event, now=later(after_s)).percentage == 10
        return
    with pytest.raises(refusal):
        advance(state, event, later(after_s))


def test_undo_under_another_plan_finds_its_place_there() -> None:
    state = follow(in_phase("progressing", AUTOMATIC), Rollback(actor=ADA))
    short = Plan("short", (Stage(20, 60),))
    state = follow(state, ApplyPlan(actor=ADA, revision=state.revision, plan=short))
    back = follow(state, Undo(actor=ADA, revision=state.revision))
    assert (back.percentage, back.stage) == (10, 0)
    assert from_dict(to_dict(back)) == back


@pytest.mark.parametrize(("reads", "passes"), [(0, True), (1, False), (100, False), (None, False)])
def test_unlock_waits_for_the_flag_to_read_zero(reads: int | None, passes: bool) -> None:
    state = in_phase("rolled_back")
    event = Unlock(actor=ADA, revision=state.revision, reason="fixed", flag_percentage=reads)
    if passes:
        after = follow(state, event)
        assert (after.phase, after.percentage, after.lock, after.generation) == ("idle", 0, None, 1)
        return
    with pytest.raises(FlagNotZero, match="could not be read" if reads is None else f"still reads {reads} %"):
        advance(state, event, NOW)


def test_unlock_needs_a_reason() -> None:
    state = in_phase("rolled_back")
    with pytest.raises(ReasonMissing):
        advance(state, Unlock(actor=ADA, revision=state.revision, reason=" ", flag_percentage=0), NOW)


def test_a_lock_made_without_the_store() -> None:
    running = in_phase("progressing")
    lock = Lock(running.id, running.generation, WALL - 5, "ole", True, "no store")
    merged = advance(running, LockFound(lock=lock), NOW)
    assert merged.state.lock == lock
    assert merged.effects[0] == Publish(rollback=True)
    assert advance(merged.state, LockFound(lock=lock), NOW) == Transition(merged.state)

    lifted = follow(merged.state, Undo(actor=ADA, revision=merged.state.revision))
    superseded = advance(lifted, LockFound(lock=lock), NOW)
    assert superseded.state == lifted
    assert [type(effect) for effect in superseded.effects] == [Audit]


def test_a_lock_of_the_evidence_stays_one_after_the_merge() -> None:
    running = in_phase("progressing")
    state = follow(running, LockFound(lock=Lock(1, 0, WALL, "evidence", False, "harm")))
    assert state.undo_until(NOW) is None


# --- the plan's clock -----------------------------------------------------------------------------------------------


def test_a_pause_stops_the_clock() -> None:
    state = follow(Rollout(plan=QUICK_PLAN), Start(actor=ADA, revision=0, percentage=10))
    state = follow(state, Pause(actor=ADA, revision=1), now=later(100))
    assert state.baked(later(9_999)) == 100
    assert state.bake_ends_at(later(9_999)) is None
    state = follow(state, Resume(actor=ADA, revision=2), now=later(10_000))
    assert state.baked(later(10_050)) == 150
    assert state.bake_ends_at(later(10_050)) == WALL + 10_000 - 100 + 180


def test_set_leaves_the_plans_clock_and_resume_comes_back_at_the_beginning_of_a_bake() -> None:
    state = follow(in_phase("progressing", AUTOMATIC), SetPercentage(actor=ADA, revision=1, percentage=70))
    assert (state.phase, state.stage, state.bake_ends_at(NOW)) == ("paused", None, None)
    state = follow(state, Resume(actor=ADA, revision=2), now=later(500))
    assert (state.phase, state.stage, state.percentage, state.baked(later(500))) == ("progressing", 2, 70, 0)


@pytest.mark.parametrize(("share", "promoted"), [(0, 10), (5, 10), (10, 50), (49, 50), (50, 95), (97, 97), (100, 100)])
def test_a_promotion_never_lowers_and_never_jumps_over_a_stage(share: int, promoted: int) -> None:
    state = follow(in_phase("progressing", AUTOMATIC), SetPercentage(actor=ADA, revision=1, percentage=share))
    assert follow(state, Promote(actor=ADA, revision=2)).percentage == promoted


def test_full_is_a_hundred_at_once_and_only_then_the_last_bake() -> None:
    state = follow(in_phase("progressing", AUTOMATIC), Promote(actor=ADA, revision=1, full=True))
    assert (state.phase, state.percentage, state.stage) == ("progressing", 100, 3)
    for full in (True, False):
        with pytest.raises(NotInPhase, match="still baking"):
            advance(state, Promote(actor=ADA, revision=2, full=full), later(59))
        assert follow(state, Promote(actor=ADA, revision=2, full=full), now=later(60)).phase == "completed"


def tick(verdicts: dict[str, Verdict] | None = None, *, flag_known: bool = True) -> Tick:
    return Tick(verdicts=PASSING if verdicts is None else verdicts, flag_known=flag_known)


def test_an_automatic_plan_walks_to_its_end() -> None:
    state = follow(Rollout(plan=AUTOMATIC), Start(actor=ADA, revision=0))
    seen, passed_s = [(state.phase, state.percentage)], 0
    while state.phase == "progressing":
        passed_s += 60
        assert follow(state, tick(), now=later(passed_s - 1)).percentage == state.percentage, "a bake is not cut short"
        state = follow(state, tick(), now=later(passed_s))
        seen.append((state.phase, state.percentage))
    assert seen == [
        ("progressing", 0),
        ("progressing", 10),
        ("progressing", 50),
        ("progressing", 95),
        ("completed", 100),
    ]


def test_overdue_stages_fold_into_one_step() -> None:
    state = follow(Rollout(plan=AUTOMATIC), Start(actor=ADA, revision=0))
    late = later(100_000)
    state = follow(state, tick(), tick(), tick(), now=late)
    assert (state.percentage, state.baked(late)) == (10, 0)


@pytest.mark.parametrize("verdict", ["inconclusive", "insufficient_data"])
def test_a_gate_holds_and_tells_people_once(verdict: Verdict) -> None:
    state = in_phase("progressing", AUTOMATIC)
    held = advance(state, tick({**PASSING, "slow": verdict}), later(60))
    assert held.state == replace(state, holding=verdict), "holding is no new revision"
    assert [effect.about for effect in held.effects if isinstance(effect, Notify)] == [verdict]
    again = advance(held.state, tick({**PASSING, "slow": verdict}), later(65))
    assert again == Transition(held.state)
    assert follow(held.state, tick(), now=later(66)).percentage == 50


def test_no_verdict_is_no_pass() -> None:
    assert follow(in_phase("progressing", AUTOMATIC), tick({}), now=later(60)).holding == "insufficient_data"


def test_a_guardrail_that_the_stage_does_not_name_decides_nothing() -> None:
    state = follow(in_phase("progressing", AUTOMATIC), tick(), now=later(60))
    assert state.percentage == 50
    harmless: dict[str, Verdict] = {"errors": "pass", "slow": "fail"}
    assert follow(state, tick(harmless), now=later(61)).phase == "progressing"
    assert follow(state, tick(harmless), now=later(120)).percentage == 95


def test_a_stage_of_a_person_waits_for_a_person() -> None:
    state = follow(in_phase("progressing"), tick(), now=later(10**8))
    assert (state.percentage, state.holding) == (10, "person")


def test_the_last_stage_of_a_person_completes_by_time_unless_somebody_would_move() -> None:
    def completed(plan: Plan) -> Rollout:
        state = follow(Rollout(plan=plan), Start(actor=ADA, revision=0))
        return follow(state, tick({}), now=later(60))

    assert completed(Plan("p", (Stage(100, 60),))).phase == "completed"
    assert completed(Plan("p", (Stage(100, 60),), holdback=5)).holding == "person"
    assert completed(Plan("p", (Stage(100, 60, BUILT_IN, "automatic"),))).holding == "insufficient_data"
    assert completed(Plan("p", (Stage(100, 60, BUILT_IN, "automatic"),), holdback=0)).phase == "completed"
    assert completed(Plan("p", (Stage(50, 60, BUILT_IN, "automatic"),))).holding == "insufficient_data"


@pytest.mark.parametrize("phase", ["progressing", "paused", "completed"])
def test_harm_rolls_back_without_asking(phase: Phase) -> None:
    change = advance(in_phase(phase), tick({**PASSING, "crashes": "fail"}, flag_known=False), NOW)
    assert change.state.phase == "rolled_back"
    assert change.state.reason == "harm shown by crashes"
    assert change.state.undo_until(NOW) is None


@pytest.mark.parametrize("phase", ["idle", "rolled_back"])
def test_where_nobody_is_on_v3_nothing_is_rolled_back(phase: Phase) -> None:
    state = in_phase(phase)
    assert advance(state, tick({"errors": "fail"}), NOW) == Transition(state)


def test_without_the_flags_server_nothing_advances() -> None:
    state = follow(in_phase("progressing", AUTOMATIC), tick(flag_known=False), now=later(60))
    assert (state.percentage, state.holding) == (10, "flag")
    assert follow(state, tick(), now=later(61)).percentage == 50


FROZEN = replace(AUTOMATIC, freezes=(FreezeOnce(WALL + 50, WALL + 100),))


def test_a_freeze_holds_what_advances_by_itself_but_no_rollback() -> None:
    state = follow(in_phase("progressing", FROZEN), tick(), now=later(60))
    assert (state.percentage, state.holding) == (10, "frozen")
    assert follow(state, tick({"errors": "fail"}), now=later(61)).phase == "rolled_back"
    assert follow(state, Rollback(actor=OLE), now=later(61)).phase == "rolled_back"
    assert follow(state, Promote(actor=ADA, revision=state.revision), now=later(61)).percentage == 50
    assert follow(state, tick(), now=later(100)).percentage == 50


def scheduled(plan: Plan = AUTOMATIC) -> Rollout:
    return follow(Rollout(), ApplyPlan(actor=ADA, revision=0, plan=replace(plan, start_at=WALL + 60)))


def test_a_schedule_starts_once_when_it_is_time() -> None:
    state = follow(scheduled(), tick(), now=later(59))
    assert (state.phase, state.start_at) == ("idle", WALL + 60)
    state = follow(state, tick(), now=later(60))
    assert (state.phase, state.percentage, state.changed_by, state.start_at) == ("progressing", 0, "schedule", None)


def test_a_schedule_waits_for_a_freeze_and_for_the_flag() -> None:
    state = scheduled(FROZEN)
    assert follow(state, tick(), now=later(70)).phase == "idle"
    assert follow(state, tick(flag_known=False), now=later(100)).phase == "idle"
    assert follow(state, tick(), now=later(100)).phase == "progressing"


def test_a_rollback_and_a_start_by_hand_take_the_schedule_away() -> None:
    state = follow(scheduled(), Rollback(actor=OLE))
    state = follow(state, Unlock(actor=ADA, revision=state.revision, reason="ok", flag_percentage=0))
    assert follow(state, tick(), now=later(100)).phase == "idle"
    state = scheduled()
    assert follow(state, Start(actor=ADA, revision=state.revision)).start_at is None


def test_a_start_that_is_past_when_the_plan_comes_is_not_made_up_for() -> None:
    plan = replace(AUTOMATIC, start_at=WALL - 1)
    assert follow(Rollout(), ApplyPlan(actor=ADA, revision=0, plan=plan), tick()).phase == "idle"
