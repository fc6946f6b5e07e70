"""Writes a plan as TOML that `plan_reader.parse_toml` reads back as the same plan, for `plan show` and for git."""

from __future__ import annotations

import json
from datetime import UTC, datetime

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
        lines.append(f"start_at = {_moment(plan.start_at)}")
    for query in plan.queries:
        lines += ["", "[[guardrail]]", f"name = {_text(query.name)}", f"query = {_text(query.expression)}"]
        lines.append(f"limit = {query.limit!r}")
    for stage in plan.stages:
        lines += ["", *_stage(stage)]
    for window in plan.freezes:
        lines += ["", *_freeze(window)]
    return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """A duration as plans write it: `7d`, `1h30m`, `90s`; whole seconds, `0s` for none."""
    rest = int(seconds)
    parts = []
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size_s)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _stage(stage: Stage) -> list[str]:
    lines = ["[[stage]]", f"percentage = {stage.percentage}", f"bake = {_text(duration(stage.bake_s))}"]
    if stage.advance != "person":
        lines.append(f"advance = {_text(stage.advance)}")
    if stage.guardrails != (BUILT_IN if stage.percentage else ()):
        lines.append(f"guardrails = [{', '.join(_text(name) for name in stage.guardrails)}]")
    return lines


def _freeze(window: Freeze) -> list[str]:
    if isinstance(window, FreezeOnce):
        return ["[[freeze]]", f"from = {_moment(window.from_s)}", f"until = {_moment(window.until_s)}"]
    lines = ["[[freeze]]", f"days = [{', '.join(_text(day) for day in window.days)}]"]
    if window.from_minute:
        lines.append(f"from = {_text(_clock(window.from_minute))}")
    if window.until_minute != DAY_MINUTES:
        lines.append(f"until = {_text(_clock(window.until_minute))}")
    return lines


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
