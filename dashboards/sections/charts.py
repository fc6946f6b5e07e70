"""Figures over time as a page shows them: four charts, the spans to choose from, and a table behind each chart.

Where there is no data there is none in the table either. The script draws the same numbers from `/api/series`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias
from urllib.parse import urlencode

from msgspec import Struct

from rollout import formats
from rollout.views import PathSeries, SeriesView, Span

SPANS: dict[Span, str] = {"15m": "15 min", "1h": "1 h", "24h": "24 h", "30d": "30 d"}
ROWS = 15
"""Rows of a table: a span is cut into this many parts."""


class ChartRow(Struct, frozen=True):
    """One row of the table behind a chart; an empty value is no data."""

    at: str
    at_iso: str
    v2: str
    v3: str
    marks: str


class Chart(Struct, frozen=True):
    key: str
    """What the script draws: a field of the series, or `error_rate`."""
    title: str
    unit: str
    rows: list[ChartRow]


class SpanLink(Struct, frozen=True):
    span: str
    label: str
    address: str
    current: bool


class ChartsSection(Struct, frozen=True):
    span: str
    data: str
    """Address of the numbers."""
    live: bool
    """False: a span that is over, for which the script need not ask again."""
    spans: list[SpanLink]
    charts: list[Chart]


_Part: TypeAlias = Callable[[PathSeries, range], float | None]


def charts(view: SeriesView, address: str, until: float | None = None) -> ChartsSection:
    """`address` is the page's own, to which a chosen span is added; `until` is where the charts end, if not now."""
    stop = {} if until is None else {"until": f"{until:.0f}"}
    return ChartsSection(
        span=view.span,
        data=f"/api/series?{urlencode({'span': view.span, **stop})}",
        live=until is None,
        spans=[SpanLink(span, label, f"{address}?span={span}", span == view.span) for span, label in SPANS.items()],
        charts=[
            Chart("error_rate", "Error rate", "% of messages", _rows(view, _error_rate, _percent)),
            Chart("p99_ms", "p99 latency", "ms, highest within a point", _rows(view, _highest, formats.milliseconds)),
            Chart("session_memory_bytes", "Memory per session", "KiB", _rows(view, _memory, formats.size)),
            Chart("sessions", "Open sessions", "", _rows(view, _sessions, _count)),
        ],
    )


def no_charts() -> ChartsSection:
    """For a page of which only other sections are rendered."""
    return ChartsSection("15m", "", False, [], [])


def _rows(view: SeriesView, part: _Part, text: Callable[[float], str]) -> list[ChartRow]:
    """The newest first; a part in which neither path has data has no row."""
    size = max(1, -(-view.points // ROWS))
    rows = []
    for first in range(0, view.points, size):
        points = range(first, min(first + size, view.points))
        begin, end = view.start + first * view.step_s, view.start + (points[-1] + 1) * view.step_s
        values = [part(view.paths[path], points) for path in ("v2", "v3")]
        marks = [mark.word for mark in view.marks if begin <= mark.at < end]
        if marks or any(value is not None for value in values):
            shown = ["" if value is None else text(value) for value in values]
            rows.append(ChartRow(formats.day_clock(begin), formats.iso(begin), shown[0], shown[1], ", ".join(marks)))
    return rows[::-1]


def _error_rate(path: PathSeries, points: range) -> float | None:
    messages = sum(path.messages[point] or 0 for point in points)
    return sum(path.errors[point] or 0 for point in points) / messages if messages else None


def _highest(path: PathSeries, points: range) -> float | None:
    return max((value for value in _known(path.p99_ms, points)), default=None)


def _memory(path: PathSeries, points: range) -> float | None:
    return _last(path.session_memory_bytes, points)


def _sessions(path: PathSeries, points: range) -> float | None:
    return _last(path.sessions, points)


def _last(values: Sequence[float | None], points: range) -> float | None:
    known = _known(values, points)
    return known[-1] if known else None


def _known(values: Sequence[float | None], points: range) -> list[float]:
    return [value for point in points if (value := values[point]) is not None]


def _percent(value: float) -> str:
    return formats.percent(value)


def _count(value: float) -> str:
    return formats.count(round(value))
