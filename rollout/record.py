"""A rollout record as JSON values and back, versioned, so that a store, a lock file and another version can read it.

Old schemas are read for ever, newer ones are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from rollout.builds import BuildSource, HostSetting, LoadedBuild
from rollout.errors import UnreadableRecord
from rollout.names import ADVANCES, PATHS, PHASES, VERDICTS
from rollout.plan import Plan, Query, Stage
from rollout.schedule import Freeze, FreezeOnce, FreezeWeekly
from rollout.state import LastRollback, Lock, Place, Rollout

SCHEMA: Final = 3
_HOLDS: Final = ("", "person", "frozen", "flag", "builds", *VERDICTS)

# JSON is what comes in: every value is looked at below before it becomes a typed one.
Json = Mapping[str, Any]


def to_dict(rollout: Rollout) -> dict[str, object]:
    """The record as JSON values; tuples stand for arrays."""
    return {"schema": SCHEMA, **asdict(rollout)}


def from_dict(values: Json) -> Rollout:
    """The record that `to_dict` wrote, in this version or an older one, also after a trip through JSON.

    Raises UnreadableRecord when it has a newer schema or is damaged.
    """
    schema = values.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise UnreadableRecord(f"the record has schema {schema!r}; this version reads 1 to {SCHEMA}")
    record: Json = {key: value for key, value in values.items() if key != "schema"}
    try:
        for older in range(schema, SCHEMA):
            record = _UPGRADES[older](record)
        return _rollout(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableRecord(f"the record is damaged: {error}") from error


def _from_1(values: Json) -> Json:
    """Schema 1 measured baking and undo by the wall clock.

    What a stage had baked is known for the last change; nobody can tell for how long of the time since then a leader
    ran, so none of it counts.
    """
    changed_at, last, started_at = values["changed_at"], values["last_rollback"], values["stage_started_at"]
    elapsed_s = 0.0 if last is None else max(0.0, changed_at - last["at"])
    return {
        **{key: value for key, value in values.items() if key != "stage_started_at"},
        "elapsed_s": elapsed_s,
        "baking_since_s": None if started_at is None else elapsed_s,
        "baked_s": values["baked_s"] if started_at is None else max(0.0, changed_at - started_at),
        "last_rollback": None if last is None else {**last, "elapsed_s": 0.0},
    }


def _from_2(values: Json) -> Json:
    """Schema 2 knew of no loads: a restart served what the settings said."""
    return {**values, "builds": ()}


_UPGRADES: Final[Mapping[int, Callable[[Json], Json]]] = {1: _from_1, 2: _from_2}
"""From each older schema to the next one."""


def _rollout(values: Json) -> Rollout:
    if missing := {field.name for field in fields(Rollout)} - set(values):
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    lock = values["lock"]
    last = values["last_rollback"]
    rollout = Rollout(
        **{
            **values,
            "plan": _plan(values["plan"]),
            "builds": tuple(_build(build) for build in values["builds"]),
            "lock": Lock(**lock) if lock is not None else None,
            "last_rollback": LastRollback(**{**last, "place": Place(**last["place"])}) if last is not None else None,
        }
    )
    _check(rollout, values)
    return rollout


def _check(rollout: Rollout, values: Json) -> None:
    """Raises ValueError when the values contradict each other, or are none of those allowed."""
    _one_of("phase", rollout.phase, PHASES)
    _one_of("holding", rollout.holding, _HOLDS)
    if rollout.last_rollback:
        _one_of("phase", rollout.last_rollback.place.phase, PHASES)
    for name in ("id", "revision", "generation", "percentage"):
        if type(values[name]) is not int or values[name] < 0:
            raise ValueError(f"{name} is {values[name]!r}")
    for name in ("elapsed_s", "baked_s"):
        if type(values[name]) not in (int, float) or values[name] < 0:
            raise ValueError(f"{name} is {values[name]!r}")
    if (rollout.phase == "progressing") != (rollout.baking_since_s is not None):
        raise ValueError(f"phase is {rollout.phase}, baking_since_s is {rollout.baking_since_s}")
    if rollout.baking_since_s is not None and not 0 <= rollout.baking_since_s <= rollout.elapsed_s:
        raise ValueError(f"baking_since_s is {rollout.baking_since_s}, elapsed_s is {rollout.elapsed_s}")
    if rollout.percentage > 100:
        raise ValueError(f"percentage is {rollout.percentage}")
    if rollout.stage is not None and not 0 <= rollout.stage < len(rollout.plan.stages):
        raise ValueError(f"stage is {rollout.stage}, the plan has {len(rollout.plan.stages)}")
    if (rollout.phase == "rolled_back") != (rollout.lock is not None):
        raise ValueError(f"phase is {rollout.phase}, lock is {rollout.lock}")


def _build(values: Json) -> LoadedBuild:
    hosts = tuple(_host_setting(each) for each in values["hosts"])
    build = LoadedBuild(**{**values, "source": BuildSource(**values["source"]), "hosts": hosts})
    _one_of("path", build.path, PATHS)
    return build


def _host_setting(values: Json) -> HostSetting:
    replaced, changed = (
        None if values[name] is None else BuildSource(**values[name]) for name in ("replaced", "changed")
    )
    return HostSetting(**{**values, "replaced": replaced, "changed": changed})


def _plan(values: Json) -> Plan:
    plan = Plan(
        **{
            **values,
            "stages": tuple(Stage(**{**stage, "guardrails": tuple(stage["guardrails"])}) for stage in values["stages"]),
            "freezes": tuple(_freeze(window) for window in values["freezes"]),
            "queries": tuple(Query(**query) for query in values["queries"]),
        }
    )
    if not plan.stages:
        raise ValueError("the plan has no stages")
    for stage in plan.stages:
        _one_of("advance", stage.advance, ADVANCES)
    return plan


def _freeze(values: Json) -> Freeze:
    if "days" in values:
        return FreezeWeekly(**{**values, "days": tuple(values["days"])})
    return FreezeOnce(**values)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}")
