"""The record as JSON: what is written reads back the same, old schemas too, and what is damaged is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

import pytest

from rollout.builds import BuildSource, HostSetting, LoadedBuild
from rollout.errors import NotInPhase, UnreadableRecord
from rollout.events import Actor, Undo
from rollout.machine import advance
from rollout.names import PHASES, Phase
from rollout.now import Now
from rollout.record import SCHEMA, from_dict, to_dict
from rollout.schedule import FreezeOnce, FreezeWeekly
from rollout.state import Lock, Rollout
from tests.rollout.steps import AUTOMATIC, WALL, in_phase

LOADED = LoadedBuild(
    "v3",
    BuildSource("shop:create", "/opt/python"),
    "b7",
    named=True,
    hosts=(HostSetting("one", BuildSource("builtin"), BuildSource("shop.v4:create")), HostSetting("two", None)),
)
BUILD = asdict(LOADED)


@pytest.mark.parametrize("phase", PHASES)
def test_a_record_survives_json(phase: Phase) -> None:
    freezes = (FreezeOnce(WALL + 50, WALL + 100), FreezeWeekly(("fri",), 960))
    state = in_phase(phase, replace(AUTOMATIC, freezes=freezes, start_at=5.0))
    assert from_dict(json.loads(json.dumps(to_dict(state)))) == state


def test_what_was_loaded_survives_json() -> None:
    state = replace(in_phase("progressing"), builds=(replace(LOADED, path="v2", hosts=()), LOADED))
    assert from_dict(json.loads(json.dumps(to_dict(state)))) == state


def test_a_record_of_schema_2_knows_of_no_loads() -> None:
    state = in_phase("progressing")
    values = {name: value for name, value in to_dict(state).items() if name != "builds"}
    assert from_dict({**values, "schema": 2}) == state
    with pytest.raises(UnreadableRecord):
        from_dict(values)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": SCHEMA + 1},
        {"schema": 0},
        {"schema": True},
        {"schema": None},
        {"phase": "baking"},
        {"percentage": 101},
        {"percentage": "10"},
        {"stage": 3},
        {"lock": {}},
        {"lock": {"rollout": 1, "generation": 0, "since": 0, "by": "a", "by_person": True, "reason": ""}},
        {"plan": None},
        {"holding": "on"},
        {"elapsed_s": -1.0},
        {"elapsed_s": None},
        {"elapsed_s": 499.0},
        {"baked_s": "0"},
        {"baking_since_s": None},
        {"baking_since_s": -1.0},
        {"phase": "paused"},
        {"colour": "red"},
        {"builds": None},
        {"builds": [{}]},
        {"builds": [{**BUILD, "path": "v4"}]},
        {"builds": [{**BUILD, "source": None}]},
        {"builds": [{**BUILD, "hosts": [{"host": "one", "replaced": None}]}]},
        {"builds": [{**BUILD, "hosts": [{"host": "one", "replaced": None, "changed": "x"}]}]},
    ],
)
def test_a_damaged_record_is_not_believed(change: dict[str, object]) -> None:
    with pytest.raises(UnreadableRecord):
        from_dict({**to_dict(in_phase("progressing")), **change})


def test_no_field_of_the_record_may_be_missing() -> None:
    values = to_dict(in_phase("progressing"))
    for name in (field.name for field in fields(Rollout)):
        with pytest.raises(UnreadableRecord):
            from_dict({key: value for key, value in values.items() if key != name})


# --- schema 1 ---------------------------------------------------------------------------------------------------------


# Written by the last version that measured baking and undo by the wall clock: each stage had baked 100 s or nothing
# when the record was changed last, and its rollback was 200 s ago by then.
SCHEMA_1: Final[dict[Phase, dict[str, Any]]] = json.loads(
    Path(__file__).with_name("records_of_schema_1.json").read_text("utf-8")
)


@pytest.mark.parametrize(
    ("phase", "percentage", "stage", "revision", "baked_s", "bake_left_s"),
    [
        ("idle", 0, None, 1, 0, None),
        ("progressing", 10, 1, 3, 100, 80),
        ("paused", 10, 1, 2, 100, None),
        ("completed", 100, 2, 3, 310, None),
        ("rolled_back", 0, None, 3, 0, None),
    ],
)
def test_a_record_of_schema_1_stands_where_it_stood_at_its_last_change(
    phase: Phase, percentage: int, stage: int | None, revision: int, baked_s: float, bake_left_s: float | None
) -> None:
    read = from_dict(SCHEMA_1[phase])
    assert (read.phase, read.percentage, read.stage, read.revision) == (phase, percentage, stage, revision)
    much_later = Now(read.changed_at + 86_400, read.elapsed_s)
    assert (read.baked(much_later), read.bake_left_s(much_later)) == (baked_s, bake_left_s)
    assert from_dict(json.loads(json.dumps(to_dict(read)))) == read, "from then on it is kept in the new schema"


def test_the_rest_of_a_record_of_schema_1_is_as_it_was() -> None:
    idle, rolled_back = from_dict(SCHEMA_1["idle"]), from_dict(SCHEMA_1["rolled_back"])
    began_at = 1_700_000_000.0
    assert idle.start_at == began_at + 900
    assert idle.plan.freezes == (FreezeOnce(began_at + 5_000, began_at + 6_000), FreezeWeekly(("sat", "sun")))
    assert rolled_back.lock == Lock(1, 0, began_at + 100, "ole", True, "errors")
    assert rolled_back.last_rollback is not None
    assert (rolled_back.last_rollback.at, rolled_back.last_rollback.by) == (began_at + 100, "ole")


def test_a_rollback_of_schema_1_can_be_undone_for_what_was_left_at_its_last_change() -> None:
    read = from_dict(SCHEMA_1["rolled_back"])
    assert read.undo_left_s(Now(read.changed_at + 86_400, read.elapsed_s)) == 400
    undo = Undo(actor=Actor("ole", "oncall"), revision=read.revision)
    back = advance(read, undo, Now(WALL, read.elapsed_s + 400)).state
    assert (back.phase, back.percentage) == ("progressing", 10)
    with pytest.raises(NotInPhase):
        advance(read, undo, Now(WALL, read.elapsed_s + 401))


def test_a_stage_of_schema_1_whose_clock_was_set_back_has_baked_nothing() -> None:
    old = SCHEMA_1["progressing"]
    read = from_dict({**old, "stage_started_at": old["changed_at"] + 3_600})
    assert read.baked(Now(WALL, read.elapsed_s)) == 0


def test_a_damaged_record_of_schema_1_is_not_believed_either() -> None:
    for name in SCHEMA_1["paused"]:
        with pytest.raises(UnreadableRecord):
            from_dict({key: value for key, value in SCHEMA_1["paused"].items() if key != name})
