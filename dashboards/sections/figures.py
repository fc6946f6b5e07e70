"""v2 beside v3: each figure with its denominator, the difference, and the verdict in words before its evidence.

A missing number stays "no data", grey, in the figure, in the difference and in the bar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct, structs

from dashboards.base.page import Tone
from rollout import formats
from rollout.names import PathName
from rollout.views import PathFigures, RolloutView, VerdictView


class Figure(Struct, frozen=True):
    """One number with what it is measured on; an empty `value` is no data."""

    value: str
    detail: str = ""


class Bar(Struct, frozen=True):
    """A verdict: words first, then the evidence, then a bar on a logarithmic scale; `fill` None: no data."""

    words: str
    tone: Tone
    evidence: str
    detail: str
    fill: float | None
    mark: float
    meter: bool = True
    """False: there is no evidence to draw."""


class Row(Struct, frozen=True):
    name: str
    v2: Figure
    v3: Figure
    difference: str
    bars: list[Bar]


class FiguresSection(Struct, frozen=True):
    window: str
    rows: list[Row]
    problems: list[str]
    basis: str = ""
    """What the verdicts rest on where that is not evidence; said once for all."""
    builds: dict[PathName, str] = {}
    """What runs on each path; a path whose build is not known is missing."""
    judged: bool = True
    """False: there are no verdicts, and no column for them."""


COUNTED = "Verdicts are from plain counts, no evidence yet."
FEW = 50
"""Finished messages of a path below which plain counts say nothing."""
MARK = 92.0
"""Where the limit stands on a bar, percent of its length; what is over the limit still shows as over it."""
NO_DATA = Figure("")
IN_THE_HEAD = ("Build", "Users")
"""Rows that the overview says elsewhere: beside the name of the path, and under the sentence."""
NOT_PER_PATH = Figure("–")  # noqa: RUF001 - a dash: this verdict has no figure of one path
_TONES: dict[str, Tone] = {"pass": "good", "fail": "bad", "inconclusive": "none", "insufficient_data": "none"}
_WORDS = {"pass": "no harm found", "fail": "harm shown", "inconclusive": "too early", "insufficient_data": "no data"}
_ROW_OF = {
    "errors": "Error rate",
    "slow": "Slow messages",
    "memory": "Memory per session",
    "crashes": "Worker restarts",
}


def figures(view: RolloutView) -> FiguresSection:
    judged = {_ROW_OF.get(verdict.guardrail) for verdict in view.verdicts}
    rows = [
        row if row.name in judged else structs.replace(row, bars=_counted(row, view))
        for row in plain_figures(view.paths, view.verdicts)
        if row.name not in IN_THE_HEAD
    ]
    counted = any(row.bars and row.name not in judged for row in rows)
    others = [verdict for verdict in view.verdicts if verdict.guardrail not in _ROW_OF]
    rows += [Row(verdict.guardrail, NOT_PER_PATH, NOT_PER_PATH, "", [bar(verdict)]) for verdict in others]
    stable, canary = figures_of(view, "v2"), figures_of(view, "v3")
    return FiguresSection(
        _window(view, canary),
        rows,
        _problems(stable, canary),
        COUNTED if counted else "",
        {path.path: path.build for path in view.paths if path.build},
    )


def figures_of(view: RolloutView, path: PathName) -> PathFigures | None:
    """The figures of one path; None when the service has none."""
    return next((figures for figures in view.paths if figures.path == path), None)


def plain_figures(paths: Sequence[PathFigures], verdicts: Sequence[VerdictView] = ()) -> list[Row]:
    """The rows of both paths; a verdict stands in the row of what it judges."""
    by_name = {path.path: path for path in paths}
    stable, canary = by_name.get("v2"), by_name.get("v3")

    def row(name: str, figure: _FigureOf, difference: _DifferenceOf) -> Row:
        return Row(
            name,
            NO_DATA if stable is None else figure(stable),
            NO_DATA if canary is None else figure(canary),
            "no data" if stable is None or canary is None else difference(canary, stable),
            [bar(verdict) for verdict in verdicts if _ROW_OF.get(verdict.guardrail) == name],
        )

    return [
        row("Error rate", _errors, _errors_difference),
        row("Slow messages", _latency, _relative(lambda path: path.p99_ms)),
        row("Memory per session", _memory, _relative(lambda path: path.session_memory_bytes)),
        row("Worker restarts", _restarts, _restarts_difference),
        row("Not counted as errors", _refused, _nothing),
        row("Open sessions", _sessions, _nothing),
        row("Users", _users, _nothing),
        row("Build", _build, _nothing),
    ]


def _counted(row: Row, view: RolloutView) -> list[Bar]:
    """Where no guardrail has judged: whether v3 is within a limit drawn from v2, which is no evidence."""
    limit = _LIMITS.get(row.name)
    if limit is None:
        return []
    stable, canary = figures_of(view, "v2"), figures_of(view, "v3")
    old, new = (None if path is None else limit.of(path) for path in (stable, canary))
    if old is None or new is None:
        return [_said("no data", "none")]
    if min(path.messages for path in (stable, canary) if path is not None) < FEW:
        return [_said("too early", "none", f"under {FEW} messages on a path")]
    at_most = old * limit.ratio + limit.slack
    over = new > at_most
    detail = f"{'more than' if over else 'at most'} {limit.text(at_most)}: {limit.formula}"
    return [_said("over the limit" if over else "within the limit", "warn" if over else "none", detail)]


def _said(verdict: str, tone: Tone, detail: str = "") -> Bar:
    return Bar(verdict, tone, "", detail, None, MARK, meter=False)


class _Limit(Struct, frozen=True):
    """What v3 may have: `ratio` times v2's value, and `slack` on top, below which a ratio means nothing."""

    of: Callable[[PathFigures], float | None]
    ratio: float
    slack: float
    formula: str
    text: Callable[[float], str]


_LIMITS = {
    "Error rate": _Limit(lambda path: path.error_rate, 2.0, 0.005, "2x v2 + 0.5 points", formats.percent),
    "Slow messages": _Limit(lambda path: path.p99_ms, 1.5, 5.0, "1.5x v2 + 5 ms", formats.milliseconds),
    "Memory per session": _Limit(lambda path: path.session_memory_bytes, 1.2, 4096.0, "1.2x v2 + 4 KiB", formats.size),
}


def bar(verdict: VerdictView) -> Bar:
    """Evidence on a logarithmic scale from a tenth to the limit, which stands at `MARK`."""
    words_shown = verdict.words or _WORDS[verdict.verdict]
    if verdict.evidence is None or verdict.verdict == "insufficient_data":
        text = "no data" if verdict.words and verdict.words != "no data" else ""
        return Bar(words_shown, "none", text, verdict.detail, None, MARK)
    limit = "" if verdict.limit is None else f" of {formats.times(verdict.limit)}"
    # Deaths are counted, and the detail says how many.
    evidence = "" if verdict.guardrail == "crashes" else f"evidence {formats.times(verdict.evidence)}{limit}"
    return Bar(
        words_shown,
        _TONES[verdict.verdict],
        evidence,
        verdict.detail,
        _fill(verdict.evidence, verdict.limit),
        MARK,
    )


def _fill(evidence: float, limit: float | None) -> float:
    top = math.log10(max(limit or 100.0, 0.2)) + 1
    reached = math.log10(max(evidence, 0.1)) + 1
    return round(min(100.0, max(1.0, reached / top * MARK)), 1)


_FigureOf: TypeAlias = Callable[[PathFigures], Figure]
_DifferenceOf: TypeAlias = Callable[[PathFigures, PathFigures], str]


def _errors(path: PathFigures) -> Figure:
    denominator = f"{formats.count(path.errors)} of {formats.plural(path.messages, 'message')}"
    return Figure("" if path.error_rate is None else formats.percent(path.error_rate), denominator)


def _errors_difference(canary: PathFigures, stable: PathFigures) -> str:
    if canary.error_rate is None or stable.error_rate is None:
        return "no data"
    return formats.points(canary.error_rate - stable.error_rate)


def _latency(path: PathFigures) -> Figure:
    half = "p50 no data" if path.p50_ms is None else f"p50 {formats.milliseconds(path.p50_ms)}"
    return Figure("" if path.p99_ms is None else f"p99 {formats.milliseconds(path.p99_ms)}", half)


def _memory(path: PathFigures) -> Figure:
    worker = "worker no data" if path.memory_bytes is None else f"worker {formats.size(path.memory_bytes)}"
    value = path.session_memory_bytes
    return Figure("" if value is None else formats.size(value), worker)


def _restarts(path: PathFigures) -> Figure:
    up = "up: no data" if path.uptime_s is None else f"up {formats.duration(path.uptime_s)}"
    return Figure(formats.count(path.restarts), up)


def _restarts_difference(canary: PathFigures, stable: PathFigures) -> str:
    more = canary.restarts - stable.restarts
    return formats.signed(more, 0) if more else "same"


def _refused(path: PathFigures) -> Figure:
    return Figure(formats.count(path.interrupted), f"interrupted, {formats.count(path.rejected)} rejected")


def _sessions(path: PathFigures) -> Figure:
    return Figure(formats.count(path.sessions), f"{path.messages_per_second:,.1f} messages/s")


def _users(path: PathFigures) -> Figure:
    return Figure(formats.count(path.users))


def _build(path: PathFigures) -> Figure:
    return Figure(path.build or "")


def _nothing(canary: PathFigures, stable: PathFigures) -> str:
    return ""


def _relative(value: Callable[[PathFigures], float | None]) -> _DifferenceOf:
    def difference(canary: PathFigures, stable: PathFigures) -> str:
        new, old = value(canary), value(stable)
        return "no data" if new is None or old is None else formats.change(new, old)

    return difference


def _window(view: RolloutView, canary: PathFigures | None) -> str:
    since = None if canary is None else canary.since
    if since is None:
        return "the window of the guardrails" if view.stage_started_at is None else "since this stage began"
    return f"since {formats.clock(since)}, {formats.duration(view.now - since)}"


def _problems(stable: PathFigures | None, canary: PathFigures | None) -> list[str]:
    return [f"{name}: no figures at all" for name, path in (("v2", stable), ("v3", canary)) if path is None]
