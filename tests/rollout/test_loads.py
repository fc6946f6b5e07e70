"""Loads and settings in the record: what is written down, said to the audit, and left as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.builds import BuildSource, LoadedBuild, of_path
from rollout.errors import NotAllowed
from rollout.events import Audit, Load, Notify, SettingSeen, Tick
from rollout.machine import advance
from rollout.names import PHASES, Phase
from rollout.plan import Plan
from rollout.state import Rollout
from tests.rollout.steps import ADA, AUTOMATIC, NOW, OLE, PASSING, WALL, follow, in_phase, later

NEW, OLD, OTHER = BuildSource("shop.fixed:create"), BuildSource("shop.v3:create"), BuildSource("shop.v4:create")
LOAD = Load(
    actor=ADA,
    reason="the fix",
    loaded=LoadedBuild("v3", NEW, "b8", named=False),
    previous_build="b7",
    settings={"one": OLD, "two": OLD},
)


def seen(host: str, setting: BuildSource) -> SettingSeen:
    return SettingSeen(path="v3", host=host, setting=setting)


@pytest.mark.parametrize("phase", PHASES)
def test_a_load_is_in_the_record_and_moves_nobody(phase: Phase) -> None:
    before = in_phase(phase)
    transition = advance(before, LOAD, NOW)
    after = transition.state
    what = "load v3 build b8 in place of b7"
    assert transition.effects == (Audit(ADA, what, "the fix"),)
    assert (after.revision, after.changed_by, after.changed_what) == (before.revision + 1, "ada", what)
    moved = (after.phase, after.percentage, after.stage, after.lock, after.baking_since_s, after.generation)
    assert moved == (before.phase, before.percentage, before.stage, before.lock, before.baking_since_s, 0)
    loaded = of_path(after.builds, "v3")
    assert loaded is not None
    assert (loaded.source, loaded.build, [each.host for each in loaded.hosts]) == (NEW, "b8", ["one", "two"])


def test_the_first_build_of_a_path_is_loaded_in_place_of_none() -> None:
    after = advance(Rollout(), replace(LOAD, previous_build=None), NOW).state
    assert after.changed_what == "load v3 build b8 in place of none"


def test_a_load_is_a_managers() -> None:
    with pytest.raises(NotAllowed):
        advance(Rollout(), replace(LOAD, actor=OLE), NOW)


def test_without_a_load_a_setting_says_nothing() -> None:
    assert advance(Rollout(), seen("one", OTHER), NOW).state == Rollout()


@pytest.mark.parametrize("setting", [OLD, NEW])
def test_a_setting_that_is_no_change_leaves_record_and_audit_alone(setting: BuildSource) -> None:
    loaded = follow(Rollout(), LOAD)
    transition = advance(loaded, seen("one", setting), NOW)
    assert transition.state is loaded
    assert transition.effects == ()


def test_a_changed_setting_is_said_once_and_so_is_its_end() -> None:
    loaded = follow(Rollout(), LOAD)
    changed = advance(loaded, seen("two", OTHER), later(60))
    (line,) = changed.effects
    assert isinstance(line, Audit)
    assert (line.actor.name, line.actor.role, line.what) == (
        "host two",
        "system",
        "setting of v3 on two: shop.v4:create",
    )
    assert line.reason == "it was changed after build b8 was loaded, and is served there in its place"
    assert (changed.state.revision, changed.state.changed_at) == (loaded.revision + 1, WALL + 60)
    again = advance(changed.state, seen("two", OTHER), later(90))
    assert (again.state, again.effects) == (changed.state, ())
    back = advance(changed.state, seen("two", OLD), later(120))
    (line,) = back.effects
    assert isinstance(line, Audit)
    assert line.reason == "it is the one that build b8 was loaded for, which is served there again"


def test_the_only_host_there_is_has_no_name() -> None:
    loaded = follow(Rollout(), replace(LOAD, settings={"": OLD}))
    (line,) = advance(loaded, seen("", OTHER), NOW).effects
    assert isinstance(line, Audit)
    assert (line.actor.name, line.what) == ("settings", "setting of v3: shop.v4:create")


def test_while_builds_differ_a_stage_holds_and_tells_people_once() -> None:
    state = in_phase("progressing", AUTOMATIC)
    differ = Tick(verdicts=PASSING, same_build=False)
    held = advance(state, differ, later(60))
    assert held.effects == (Notify("builds", "holds at 10 %: cells run different builds of v3"),)
    assert (held.state.percentage, held.state.holding, held.state.revision) == (10, "builds", state.revision)
    assert advance(held.state, differ, later(61)).effects == ()
    assert advance(held.state, Tick(verdicts=PASSING), later(62)).state.percentage == 50


def test_while_builds_differ_no_schedule_starts_and_harm_still_rolls_back() -> None:
    scheduled = Rollout(plan=replace(Plan("night", AUTOMATIC.stages), start_at=WALL + 5), start_at=WALL + 5)
    assert advance(scheduled, Tick(same_build=False), later(10)).state == scheduled
    assert advance(scheduled, Tick(), later(10)).state.phase == "progressing"
    harm = Tick(verdicts={**PASSING, "errors": "fail"}, same_build=False)
    assert advance(in_phase("progressing", AUTOMATIC), harm, later(1)).state.phase == "rolled_back"
