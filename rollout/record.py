"""A rollout record as JSON values and back, versioned, so that a store, a lock file and another version can read it.

Knows shapes only; must not know where the values are kept. Old schemas are read for ever, newer ones are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from rollout.errors import UnreadableRecord
from rollout.names import ADVANCES, PHASES, VERDICTS
from rollout.plan import Plan, Query, Stage
from rollout.schedule import Freeze, FreezeOnce, FreezeWeekly
from rollout.state import LastRollback, Lock, Place, Rollout

SCHEMA: Final = 1
_HOLDS: Final = ("", "person", "frozen", "flag", *VERDICTS)

# JSON is what comes in: every value is looked at below before it becomes a typed one.
Json = Mapping[str, Any]


def to_dict(rollout: Rollout) -> dict[str, object]:
    """The record as JSON values; tuples stand for arrays."""
    return {"schema": SCHEMA, **asdict(rollout)}


def from_dict(values: Json) -> Rollout:
    """The record that `to_dict` wrote, also after a trip through JSON.

    Raises UnreadableRecord when it has another schema or is damaged.
    """
    if values.get("schema") != SCHEMA:
        raise UnreadableRecord(f"the record has schema {values.get('schema')!r}; this version reads {SCHEMA}")
    try:
        return _rollout({key: value for key, value in values.items() if key != "schema"})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableRecord(f"the record is damaged: {error}") from error


def plan_to_dict(plan: Plan) -> dict[str, object]:
    """A plan as JSON values."""
    return asdict(plan)


def plan_from_dict(values: Json) -> Plan:
    """The plan that `plan_to_dict` wrote. Raises UnreadableRecord when it is damaged."""
    try:
        return _plan(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableRecord(f"the plan is damaged: {error}") from error


def _rollout(values: Json) -> Rollout:
    if missing := {field.name for field in fields(Rollout)} - set(values):
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    plan = _plan(values["plan"])
    lock = values["lock"]
    last = values["last_rollback"]
    rollout = Rollout(
        **{
            **values,
            "plan": plan,
            "lock": Lock(**lock) if lock is not None else None,
            "last_rollback": LastRollback(**{**last, "place": Place(**last["place"])}) if last is not None else None,
        }
    )
    _one_of("phase", rollout.phase, PHASES)
    _one_of("holding", rollout.holding, _HOLDS)
    if rollout.last_rollback:
        _one_of("phase", rollout.last_rollback.place.phase, PHASES)
    for name in ("id", "revision", "generation", "percentage"):
        if type(values[name]) is not int or values[name] < 0:
            raise ValueError(f"{name} is {values[name]!r}")
    if rollout.percentage > 100:
        raise ValueError(f"percentage is {rollout.percentage}")
    if rollout.stage is not None and not 0 <= rollout.stage < len(plan.stages):
        raise ValueError(f"stage is {rollout.stage}, the plan has {len(plan.stages)}")
    if (rollout.phase == "rolled_back") != (rollout.lock is not None):
        raise ValueError(f"phase is {rollout.phase}, lock is {rollout.lock}")
    return rollout


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
