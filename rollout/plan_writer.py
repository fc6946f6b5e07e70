"""Writes a plan as TOML that `plan_reader.parse_toml` reads back as the same plan, for `plan show` and for git."""

from __future__ import annotations

import json

from rollout.formats import plan_duration, time_of_day, toml_time
from rollout.guardrails import BUILT_IN
from rollout.plan import Plan, Stage
from rollout.schedule import DAY_MINUTES, Freeze, FreezeOnce


def dump_toml(plan: Plan) -> str:
    """The plan's text; what equals the default of its field is left out. Times are written in whole seconds, UTC."""
    lines = [f"name = {_text(plan.name)}"]
    if plan.new_connections_only:
        lines.append("new_connections_only = true")
    if plan.ramp_per_second:
        lines.append(f"ramp_per_second = {plan.ramp_per_second}")
    if plan.holdback is not None:
        lines.append(f"holdback = {plan.holdback}")
    if plan.start_at is not None:
        lines.append(f"start_at = {toml_time(plan.start_at)}")
    for query in plan.queries:
        lines += ["", "[[guardrail]]", f"name = {_text(query.name)}", f"query = {_text(query.expression)}"]
        lines.append(f"limit = {query.limit!r}")
    for stage in plan.stages:
        lines += ["", *_stage(stage)]
    for window in plan.freezes:
        lines += ["", *_freeze(window)]
    return "\n".join(lines) + "\n"


def _stage(stage: Stage) -> list[str]:
    lines = ["[[stage]]", f"percentage = {stage.percentage}", f"bake = {_text(plan_duration(stage.bake_s))}"]
    if stage.advance != "person":
        lines.append(f"advance = {_text(stage.advance)}")
    if stage.guardrails != (BUILT_IN if stage.percentage else ()):
        lines.append(f"guardrails = [{', '.join(_text(name) for name in stage.guardrails)}]")
    return lines


def _freeze(window: Freeze) -> list[str]:
    if isinstance(window, FreezeOnce):
        return ["[[freeze]]", f"from = {toml_time(window.from_s)}", f"until = {toml_time(window.until_s)}"]
    lines = ["[[freeze]]", f"days = [{', '.join(_text(day) for day in window.days)}]"]
    if window.from_minute:
        lines.append(f"from = {_text(time_of_day(window.from_minute))}")
    if window.until_minute != DAY_MINUTES:
        lines.append(f"until = {_text(time_of_day(window.until_minute))}")
    return lines


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
