"""Reads a plan from TOML text, with every mistake named by line and field.

`tomllib` reports a line only for text that is no TOML at all, so the line of a field is found in the text itself, see
`_lines_of`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from rollout.errors import InvalidPlan, PlanError
from rollout.guardrails import BUILT_IN
from rollout.names import ADVANCES, Advance
from rollout.plan import Plan, Query, Stage
from rollout.schedule import DAY_MINUTES, DAYS, Freeze, FreezeOnce, FreezeWeekly

_UNITS_S: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:\d+[dhms])+")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\-\"' ]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_\-]+|\"[^\"]*\"|'[^']*')\s*=(.*)$")
_TOML_POSITION: Final = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_PLAN_FIELDS: Final = frozenset(
    {"name", "new_connections_only", "ramp_per_second", "holdback", "start_at", "stage", "freeze", "guardrail"}
)


def parse_toml(text: str) -> Plan:
    """The plan that a TOML text describes.

    Raises InvalidPlan with one PlanError for each mistake: line from 1, field as `stage[2].percentage`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidPlan([_syntax_error(text, str(error))]) from error
    return _Reader(_lines_of(text)).plan(table)


def _syntax_error(text: str, message: str) -> PlanError:
    position = _TOML_POSITION.search(message)
    at_end = position is None or position[1] is None
    line = text.count("\n") + 1 if at_end or position is None else int(position[1])
    return PlanError(line, "", f"this is not TOML: {_TOML_POSITION.sub('', message)}")


def _lines_of(text: str) -> Mapping[str, int]:
    """Line of each field, from the text: `[[stage]]` headers are counted, `key =` belongs to the last header.

    Only what a plan uses is understood: bare or quoted keys, one to a line, and values that may span lines; the inside
    of a `\"\"\"` text is passed over. A field that is not found (a table written inline, say) is looked up by
    `_Reader.line` under its parents, so that an error always names the nearest line above it.
    """
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    fence = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if fence:
            fence = "" if fence in line else fence
            continue
        if header := _HEADER.match(line):
            name = header[2].strip("\"' ")
            if header[1] == "[[":
                counts[name] = counts.get(name, 0) + 1
                name = f"{name}[{counts[name]}]"
            lines[name] = number
            prefix = f"{name}."
        elif key := _KEY.match(line):
            lines[prefix + key[1].strip("\"'")] = number
            for quotes in ('"""', "'''"):
                if key[2].count(quotes) % 2:
                    fence = quotes
    return lines


class _Reader:
    """Collects mistakes while it reads, so that a person sees all of them at once."""

    def __init__(self, lines: Mapping[str, int]) -> None:
        self._lines = lines
        self._errors: list[PlanError] = []

    def line(self, field: str) -> int:
        """Line of a field, or of the nearest table or key that contains it; 1 when nothing does."""
        while field not in self._lines:
            parent, dot, _ = field.rpartition(".")
            if not dot:
                return self._lines.get(field.partition("[")[0], 1)
            field = parent
        return self._lines[field]

    def wrong(self, field: str, message: str) -> None:
        self._errors.append(PlanError(self.line(field), field, message))

    def plan(self, table: Mapping[str, object]) -> Plan:
        self.known(table, "", _PLAN_FIELDS)
        queries = tuple(self.query(entry, f"guardrail[{number}]") for number, entry in self.tables(table, "guardrail"))
        names = (*BUILT_IN, *(query.name for query in queries))
        for number, name in enumerate(names[len(BUILT_IN) :], start=1):
            if name in names[: len(BUILT_IN) + number - 1]:
                self.wrong(f"guardrail[{number}].name", f"{name!r} is taken; built in are {', '.join(BUILT_IN)}")
        stages = tuple(self.stage(entry, f"stage[{number}]", names) for number, entry in self.tables(table, "stage"))
        if not stages:
            self.wrong("stage", "a plan needs at least one [[stage]]")
        for number, (one, other) in enumerate(pairwise(stages), start=2):
            if other.percentage <= one.percentage:
                self.wrong(
                    f"stage[{number}].percentage",
                    f"{other.percentage} does not rise above the {one.percentage} of the stage before it",
                )
        holdback = None if "holdback" not in table else self.whole(table, "", "holdback", default=0, low=0, high=50)
        plan = Plan(
            name=self.text(table, "", "name"),
            stages=stages,
            new_connections_only=self.flag(table, "new_connections_only"),
            ramp_per_second=self.whole(table, "", "ramp_per_second", default=0, low=0, high=1_000_000),
            holdback=holdback,
            start_at=self.moment(table, "", "start_at") if "start_at" in table else None,
            freezes=tuple(self.freeze(entry, f"freeze[{number}]") for number, entry in self.tables(table, "freeze")),
            queries=queries,
        )
        if self._errors:
            raise InvalidPlan(sorted(self._errors, key=lambda error: error.line))
        return plan

    def stage(self, table: Mapping[str, object], at: str, guardrails: Sequence[str]) -> Stage:
        self.known(table, at, {"percentage", "bake", "guardrails", "advance"})
        percentage = self.whole(table, at, "percentage", default=None, low=0, high=100)
        chosen = table.get("guardrails", list(BUILT_IN) if percentage else [])
        if not isinstance(chosen, list) or any(name not in guardrails for name in chosen):
            self.wrong(f"{at}.guardrails", f"{chosen!r} is not a list of guardrails: {', '.join(guardrails)}")
            chosen = []
        advance = table.get("advance", "person")
        if advance not in ADVANCES:
            self.wrong(f"{at}.advance", f"{advance!r} is not allowed: {' or '.join(ADVANCES)}")
        chosen_advance: Advance = "automatic" if advance == "automatic" else "person"
        return Stage(percentage, self.duration(table, at, "bake"), tuple(str(name) for name in chosen), chosen_advance)

    def query(self, table: Mapping[str, object], at: str) -> Query:
        self.known(table, at, {"name", "query", "limit"})
        limit = table.get("limit")
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            self.wrong(f"{at}.limit", f"{limit!r} is not a number; the query fails above it")
            limit = 0
        return Query(self.text(table, at, "name"), self.text(table, at, "query"), float(limit))

    def freeze(self, table: Mapping[str, object], at: str) -> Freeze:
        if "days" not in table:
            self.known(table, at, {"from", "until"})
            once = FreezeOnce(self.moment(table, at, "from"), self.moment(table, at, "until"))
            if once.until_s <= once.from_s:
                self.wrong(f"{at}.until", "ends before it begins")
            return once
        self.known(table, at, {"days", "from", "until"})
        days = table["days"]
        if not isinstance(days, list) or not days or any(day not in DAYS for day in days):
            self.wrong(f"{at}.days", f"{days!r} is not a list of days: {', '.join(DAYS)}")
            days = []
        weekly = FreezeWeekly(
            tuple(day for day in DAYS if day in days),
            self.clock(table, at, "from", 0),
            self.clock(table, at, "until", DAY_MINUTES),
        )
        if weekly.until_minute <= weekly.from_minute:
            self.wrong(f"{at}.until", "ends before it begins; a window over midnight is two windows")
        return weekly

    def known(self, table: Mapping[str, object], at: str, allowed: Sequence[str] | frozenset[str] | set[str]) -> None:
        for key in table:
            if key not in allowed:
                self.wrong(f"{at}.{key}" if at else key, f"unknown; known here: {', '.join(sorted(allowed))}")

    def tables(self, table: Mapping[str, object], key: str) -> list[tuple[int, Mapping[str, object]]]:
        entries = table.get(key, [])
        if not isinstance(entries, list) or any(not isinstance(entry, dict) for entry in entries):
            self.wrong(key, f"must be written as [[{key}]] tables")
            return []
        return list(enumerate(entries, start=1))

    def text(self, table: Mapping[str, object], at: str, key: str) -> str:
        value = table.get(key)
        if isinstance(value, str) and value.strip():
            return value
        self.wrong(f"{at}.{key}" if at else key, "missing" if value is None else f"{value!r} is not a text")
        return ""

    def flag(self, table: Mapping[str, object], key: str) -> bool:
        value = table.get(key, False)
        if isinstance(value, bool):
            return value
        self.wrong(key, f"{value!r} is not allowed: true or false")
        return False

    def whole(self, table: Mapping[str, object], at: str, key: str, *, default: int | None, low: int, high: int) -> int:
        value = table.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        problem = "missing" if value is None else f"{value!r} is not allowed"
        self.wrong(f"{at}.{key}" if at else key, f"{problem}: a whole number from {low} to {high}")
        return low

    def duration(self, table: Mapping[str, object], at: str, key: str) -> float:
        value = table.get(key)
        if isinstance(value, str) and _DURATION.fullmatch(value):
            return float(sum(int(number) * _UNITS_S[unit] for number, unit in re.findall(r"(\d+)([dhms])", value)))
        problem = "missing" if value is None else f"{value!r} is not allowed"
        self.wrong(f"{at}.{key}", f'{problem}: a duration such as "7d", "90s" or "1h30m"')
        return 0.0

    def moment(self, table: Mapping[str, object], at: str, key: str) -> float:
        value = table.get(key)
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.timestamp()
        problem = "missing" if value is None else f"{value} is not allowed"
        self.wrong(f"{at}.{key}" if at else key, f"{problem}: a time with its offset, such as 2026-03-01T08:00:00Z")
        return 0.0

    def clock(self, table: Mapping[str, object], at: str, key: str, default: int) -> int:
        value = table.get(key)
        if value is None:
            return default
        if isinstance(value, str) and (found := _CLOCK.fullmatch(value)):
            return DAY_MINUTES if found[1] is None else int(found[1]) * 60 + int(found[2])
        self.wrong(f"{at}.{key}", f'{value!r} is not allowed: a time of day in UTC such as "18:00"')
        return default
