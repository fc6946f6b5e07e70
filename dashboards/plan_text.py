"""What a plan says, and how two plans differ, in sentences for a person."""

from __future__ import annotations

from collections.abc import Iterator

from rollout import formats
from rollout.errors import InvalidPlan
from rollout.plan import Plan, Query, Stage
from rollout.plan_reader import parse_toml
from rollout.schedule import DAY_MINUTES, DAYS, Freeze, FreezeOnce

PLAN_CHARACTERS = 100_000
_ADVANCES = {"person": "a person advances it", "automatic": "it advances by itself when every guardrail passes"}


def check(text: str) -> Plan | list[str]:
    """The plan that a text describes, or its mistakes, one line each, as `crossfade plan check` says them."""
    if len(text) > PLAN_CHARACTERS:
        return [f"a plan has at most {PLAN_CHARACTERS:,} characters; this text has {len(text):,}"]
    try:
        return parse_toml(text)
    except InvalidPlan as invalid:
        return [str(error) for error in invalid.errors]


def rules(plan: Plan) -> list[str]:
    """What a plan says besides its stages, one sentence each; defaults are left out."""
    said = [_start(plan), _holdback(plan), _ramp(plan)]
    said += [f"frozen {freeze(window)}: nothing advances by itself" for window in plan.freezes]
    said += [f"guardrail {_query(query)}" for query in plan.queries]
    return [_sentence(each) for each in said if each]


def changes(old: Plan, new: Plan) -> list[str]:
    """Where `new` differs from `old`, stages first; empty: they say the same."""
    return [_sentence(each) for each in (*_stages(old, new), *_rest(old, new))]


def freeze(window: Freeze) -> str:
    """`every sat and sun (UTC)`, `every fri 18:00-24:00 (UTC)`, `2026-12-24T00:00:00Z until 2027-01-02T00:00:00Z`."""
    if isinstance(window, FreezeOnce):
        return f"from {formats.toml_time(window.from_s)} until {formats.toml_time(window.until_s)}"
    days = "day" if window.days == DAYS else _list(window.days)
    if (window.from_minute, window.until_minute) == (0, DAY_MINUTES):
        return f"every {days} (UTC)"
    return f"every {days} {formats.time_of_day(window.from_minute)}-{formats.time_of_day(window.until_minute)} (UTC)"


# -- the stages -------------------------------------------------------------------------------------------------------


def _stages(old: Plan, new: Plan) -> Iterator[str]:
    """By percentage, which is what a stage means to its users; each occurs once in a plan."""
    before = {stage.percentage: stage for stage in old.stages}
    after = {stage.percentage: stage for stage in new.stages}
    for percentage in sorted(before.keys() | after.keys()):
        if percentage not in after:
            yield f"stage {percentage} % is removed (it bakes {formats.plan_duration(before[percentage].bake_s)})"
        elif percentage not in before:
            yield f"stage {percentage} % is new: {', '.join(_stage(after[percentage]))}"
        elif found := list(_differences(before[percentage], after[percentage])):
            yield f"stage {percentage} %: {', '.join(found)}"


def _stage(stage: Stage) -> Iterator[str]:
    yield f"bakes {formats.plan_duration(stage.bake_s)}"
    yield _ADVANCES[stage.advance]
    yield _guardrails(stage)


def _differences(old: Stage, new: Stage) -> Iterator[str]:
    if old.bake_s != new.bake_s:
        yield f"bakes {formats.plan_duration(new.bake_s)} instead of {formats.plan_duration(old.bake_s)}"
    if old.advance != new.advance:
        yield f"now {_ADVANCES[new.advance]}"
    if set(old.guardrails) != set(new.guardrails):
        yield f"{_guardrails(new)} instead of {_names(old)}"


def _guardrails(stage: Stage) -> str:
    return f"watched by {_names(stage)}"


def _names(stage: Stage) -> str:
    return _list(stage.guardrails) if stage.guardrails else "no guardrail"


# -- all the rest -----------------------------------------------------------------------------------------------------


def _rest(old: Plan, new: Plan) -> Iterator[str]:
    if old.name != new.name:
        yield f"its name is {new.name} instead of {old.name}"
    for say, otherwise in (
        (_start, "a person starts it"),
        (_holdback, "at 100 % nobody is held back, except 5 % where evidence decides"),
        (_ramp, "a ramp moves open sessions too, all at once"),
    ):
        if say(old) != say(new):
            yield say(new) or otherwise
    yield from _list_changes("freeze", [freeze(each) for each in old.freezes], [freeze(each) for each in new.freezes])
    yield from _list_changes(
        "guardrail", [_query(each) for each in old.queries], [_query(each) for each in new.queries]
    )


def _list_changes(what: str, old: list[str], new: list[str]) -> Iterator[str]:
    yield from (f"{what} is new: {each}" for each in new if each not in old)
    yield from (f"{what} is removed: {each}" for each in old if each not in new)


def _start(plan: Plan) -> str:
    return "" if plan.start_at is None else f"starts by itself at {formats.toml_time(plan.start_at)}"


def _holdback(plan: Plan) -> str:
    return "" if plan.holdback is None else f"while the last stage bakes {plan.holdback} % are held back on v2"


def _ramp(plan: Plan) -> str:
    if plan.new_connections_only:
        return "a ramp moves new connections only"
    return f"a ramp moves {plan.ramp_per_second} sessions a second" if plan.ramp_per_second else ""


def _query(query: Query) -> str:
    return f"{query.name}: {query.expression} fails above {query.limit:g}"


def _list(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
