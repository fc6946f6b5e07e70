"""Time series for the charts: both paths by the second, by ten seconds and by the minute, in fixed memory.

Figures are given to it once a second. A slot without a finished message has no error rate and no latency, and a slot in
which the service was down has nothing at all: both are gaps, never zeros.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

from app.metrics.counters import BUCKETS, HISTOGRAM, MESSAGES, TRANSPORTS, quantile_ms
from rollout.names import PATHS, PathName
from rollout.views import PathSeries, SeriesView, Span

TIERS: tuple[tuple[int, int], ...] = ((1, 3600), (10, 24 * 3600), (60, 30 * 24 * 3600))
"""Seconds of a slot, and seconds for which it is kept."""
# For each span: its length, the seconds of a slot in the tier it is drawn from, and how many slots make one point.
_SPANS: Mapping[Span, tuple[int, int, int]] = {
    "15m": (900, 1, 5),
    "1h": (3600, 10, 1),
    "24h": (24 * 3600, 60, 1),
    "30d": (30 * 24 * 3600, 60, 30),
}
SPAN_S: Mapping[Span, int] = {span: seconds for span, (seconds, _, _) in _SPANS.items()}


class Gauges(NamedTuple):
    """One path's gauges at one moment; None: not known."""

    sessions: int
    session_memory_bytes: float | None
    memory_bytes: int | None


class Point(Struct, frozen=True, array_like=True):
    """One path in one slot."""

    messages: int
    """Finished ones: `ok` and `error`."""
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    sessions: int
    session_memory_bytes: float | None
    memory_bytes: int | None


class Slot(Struct, frozen=True, array_like=True):
    """Both paths in the slot that begins at `number * step_s` (Unix seconds)."""

    number: int
    points: dict[PathName, Point]


class SavedSlots(Struct, frozen=True, array_like=True):
    """Slots of one tier that were closed since the last save."""

    step_s: int
    slots: list[Slot]


_NONE = math.nan
_FIELDS = Point.__struct_fields__
_COLUMNS = len(_FIELDS)
_MESSAGES, _ERRORS, _P50, _P99, _SESSIONS, _PER_SESSION, _MEMORY = range(_COLUMNS)


class _Ring:
    """The last slots of one tier in flat arrays, each place with the number of its slot."""

    def __init__(self, step_s: int, keep_s: int) -> None:
        self.step_s = step_s
        self.size = keep_s // step_s
        self._numbers = array("q", [-1]) * self.size
        self._values = {path: array("d", [_NONE]) * (self.size * _COLUMNS) for path in PATHS}

    def put(self, slot: Slot) -> None:
        place = slot.number % self.size
        if slot.number < self._numbers[place]:
            return  # older than the slot that is there
        self._numbers[place] = slot.number
        for path in PATHS:
            point = slot.points.get(path)
            row = [_NONE] * _COLUMNS if point is None else [_to_float(getattr(point, name)) for name in _FIELDS]
            self._values[path][place * _COLUMNS : (place + 1) * _COLUMNS] = array("d", row)

    def has(self, number: int) -> bool:
        return self._numbers[number % self.size] == number

    def get(self, path: PathName, number: int) -> Sequence[float] | None:
        """One row; None: a gap."""
        if not self.has(number):
            return None
        place = number % self.size
        return self._values[path][place * _COLUMNS : (place + 1) * _COLUMNS]


@dataclass(slots=True)
class _OpenSlot:
    """The slot that is being filled."""

    number: int
    counts: dict[PathName, list[int]]
    """Finished messages, and errors among them."""
    histograms: dict[PathName, dict[int, int]]


class Series:
    """The time series of one cell. Call `sample` once a second; everything else may be called at any time."""

    def __init__(self, slots: Sequence[int]) -> None:
        self._rings = {step_s: _Ring(step_s, keep_s) for step_s, keep_s in TIERS}
        self._before = array("q", slots)
        self._open: dict[int, _OpenSlot] = {}
        self._gauges: Mapping[PathName, Gauges] = {}
        self._unsaved: dict[int, list[Slot]] = {step_s: [] for step_s, _ in TIERS}

    def sample(self, now: float, slots: Sequence[int], gauges: Mapping[PathName, Gauges]) -> None:
        """Take in the counters' slots; what changed since the last call belongs to the second of `now` (Unix)."""
        current = array("q", slots)
        for step_s in self._rings:
            self._turn(step_s, int(now // step_s))
        self._gauges = gauges
        if current != self._before:
            for path in PATHS:
                self._count(path, current)
            self._before = current

    def _turn(self, step_s: int, number: int) -> None:
        """Close the open slot of a tier when its time is over, and begin the current one."""
        opened = self._open.get(step_s)
        if opened is not None and opened.number >= number:
            return
        if opened is not None:
            slot = self._close(opened)
            self._rings[step_s].put(slot)
            self._unsaved[step_s].append(slot)
        self._open[step_s] = _OpenSlot(number, {path: [0, 0] for path in PATHS}, {path: {} for path in PATHS})

    def _count(self, path: PathName, current: Sequence[int]) -> None:
        before = self._before
        done = [
            sum(current[slot] - before[slot] for slot in (MESSAGES[path, way, outcome] for way in TRANSPORTS))
            for outcome in ("ok", "error")
        ]
        base = HISTOGRAM[path]
        new, old = current[base : base + BUCKETS], before[base : base + BUCKETS]
        changed = {index: new[index] - old[index] for index in range(BUCKETS) if new[index] != old[index]}
        for opened in self._open.values():
            opened.counts[path][0] += sum(done)
            opened.counts[path][1] += done[1]
            histogram = opened.histograms[path]
            for index, more in changed.items():
                histogram[index] = histogram.get(index, 0) + more

    def _close(self, opened: _OpenSlot) -> Slot:
        points: dict[PathName, Point] = {}
        for path, gauges in self._gauges.items():
            messages, errors = opened.counts[path]
            histogram = [0] * BUCKETS
            for index, count in opened.histograms[path].items():
                histogram[index] = count
            points[path] = Point(messages, errors, quantile_ms(histogram, 0.5), quantile_ms(histogram, 0.99), *gauges)
        return Slot(opened.number, points)

    # -- the store ------------------------------------------------------------------------------------------------

    def finished(self) -> list[SavedSlots]:
        """Slots that were closed since the last call, by tier; the caller keeps them if saving fails."""
        closed = [SavedSlots(step_s, slots) for step_s, slots in self._unsaved.items() if slots]
        self._unsaved = {step_s: [] for step_s, _ in TIERS}
        return closed

    def restore(self, saved: Iterable[SavedSlots]) -> None:
        """Fill in what an earlier process saved; slots that this process has already stay."""
        for chunk in saved:
            if (ring := self._rings.get(chunk.step_s)) is None:
                continue
            for slot in chunk.slots:
                if not ring.has(slot.number):
                    ring.put(slot)

    # -- reading --------------------------------------------------------------------------------------------------

    def view(self, span: Span, until: float) -> SeriesView:
        """The points of a span that ends at `until` (Unix seconds), the oldest first; the marks are empty.

        A point of several slots has the sum of messages and errors, the highest p99, the p50 weighted by messages and
        the last value of everything else.
        """
        length_s, step_s, group = _SPANS[span]
        point_s = step_s * group
        last = int(until // point_s)
        first = last - length_s // point_s + 1
        numbers = range(first, last + 1)
        return SeriesView(
            span=span,
            start=float(first * point_s),
            step_s=point_s,
            points=len(numbers),
            paths={path: self._path(path, step_s, numbers, group) for path in PATHS},
            marks=[],
        )

    def _path(self, path: PathName, step_s: int, numbers: Iterable[int], group: int) -> PathSeries:
        ring, opened = self._rings[step_s], self._open.get(step_s)
        live = None if opened is None or path not in self._gauges else self._row(opened, path)
        rows: list[list[float] | None] = []
        for number in numbers:
            parts = [
                live if live is not None and opened is not None and opened.number == part else ring.get(path, part)
                for part in range(number * group, (number + 1) * group)
            ]
            rows.append(_together([part for part in parts if part is not None]))
        return PathSeries(
            messages=[_whole(row, _MESSAGES) for row in rows],
            errors=[_whole(row, _ERRORS) for row in rows],
            p50_ms=[_rounded(row, _P50) for row in rows],
            p99_ms=[_rounded(row, _P99) for row in rows],
            sessions=[_whole(row, _SESSIONS) for row in rows],
            session_memory_bytes=[_whole(row, _PER_SESSION) for row in rows],
            memory_bytes=[_whole(row, _MEMORY) for row in rows],
        )

    def _row(self, opened: _OpenSlot, path: PathName) -> list[float]:
        point = self._close(opened).points[path]
        return [_to_float(getattr(point, name)) for name in _FIELDS]


def _together(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """Several rows of one path as one; None: there are no rows."""
    if len(rows) <= 1:
        return list(rows[0]) if rows else None
    row = list(rows[-1])
    row[_MESSAGES] = math.fsum(part[_MESSAGES] for part in rows)
    row[_ERRORS] = math.fsum(part[_ERRORS] for part in rows)
    timed = [part for part in rows if not math.isnan(part[_P99]) and part[_MESSAGES] > 0]
    if timed:
        row[_P99] = max(part[_P99] for part in timed)
        row[_P50] = math.fsum(part[_P50] * part[_MESSAGES] for part in timed) / math.fsum(p[_MESSAGES] for p in timed)
    for column, value in _last_known(rows):
        row[column] = value
    return row


def _last_known(rows: Sequence[Sequence[float]]) -> Iterator[tuple[int, float]]:
    for column in (_PER_SESSION, _MEMORY):
        values = [part[column] for part in rows if not math.isnan(part[column])]
        if values:
            yield column, values[-1]


def _to_float(value: float | None) -> float:
    return _NONE if value is None else float(value)


def _whole(row: Sequence[float] | None, column: int) -> int | None:
    return None if row is None or math.isnan(row[column]) else round(row[column])


def _rounded(row: Sequence[float] | None, column: int) -> float | None:
    return None if row is None or math.isnan(row[column]) else round(row[column], 2)
