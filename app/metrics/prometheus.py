"""The metrics for Prometheus, made from the counters at each scrape. Labels come from closed sets, never from ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.metrics import counters as slots
from app.pool.state import PathState
from rollout.names import PHASES, PathName, Phase

_EDGE = slots.BUCKETS // 48
# Every half doubling is a `le`: 48 of them instead of 768, each an edge of the fine buckets, so that counts are exact.
# A duration exactly on an edge counts above it, where Prometheus would count it below; with a clock that makes no odds.
LATENCY_EDGES: tuple[str, ...] = tuple(
    repr(slots.bucket_start_s(index)) for index in range(_EDGE, slots.BUCKETS, _EDGE)
)


@dataclass(frozen=True, slots=True)
class ScrapedCell:
    """The figures of one cell of this host."""

    name: str
    slots: Sequence[int]
    """In the layout of `app.metrics.counters`."""
    paths: Mapping[PathName, PathState]
    percentage: int
    phase: Phase
    flag_age_s: float


class CellsCollector(Collector):
    """All metrics of the host's cells at one moment."""

    def __init__(self, cells: Sequence[ScrapedCell]) -> None:
        self._cells = cells

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._cells)
        yield from _histograms(self._cells)
        yield from _path_gauges(self._cells)
        yield from _rollout_gauges(self._cells)

    def describe(self) -> Iterator[Metric]:
        """No metrics ahead of time."""
        return iter(())


def _counters(cells: Iterable[ScrapedCell]) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        "crossfade_messages", "Messages by outcome.", labels=["cell", "path", "transport", "outcome"]
    )
    admissions = CounterMetricFamily(
        "crossfade_admissions",
        "Sessions and HTTP messages bound to a path, by reason.",
        labels=["cell", "path", "reason"],
    )
    handovers = CounterMetricFamily(
        "crossfade_handovers",
        "Live sessions handed over to a path or build.",
        labels=["cell", "source", "target", "outcome"],
    )
    stale = CounterMetricFamily("crossfade_stale_events", "Late events of a fenced epoch, discarded.", labels=["cell"])
    restarts = CounterMetricFamily("crossfade_path_restarts", "Restarts of a path's worker.", labels=["cell", "path"])
    for cell in cells:
        for metric, layout in (
            (messages, slots.MESSAGES),
            (admissions, slots.ADMISSIONS),
            (handovers, slots.HANDOVERS),
        ):
            for labels, slot in layout.items():
                metric.add_metric([cell.name, *labels], cell.slots[slot])
        stale.add_metric([cell.name], cell.slots[slots.STALE])
        for path, state in cell.paths.items():
            restarts.add_metric([cell.name, path], state.restarts)
    yield from (messages, admissions, handovers, stale, restarts)


def _histograms(cells: Iterable[ScrapedCell]) -> Iterator[Metric]:
    messages = HistogramMetricFamily(
        "crossfade_message_seconds",
        "Seconds from acceptance to the terminal event; ok and error only.",
        labels=["cell", "path"],
    )
    handovers = HistogramMetricFamily(
        "crossfade_handover_seconds",
        "Seconds from the decision until the session is bound to the new path.",
        labels=["cell"],
    )
    for cell in cells:
        for path, start in slots.HISTOGRAM.items():
            _add_histogram(messages, [cell.name, path], cell.slots, start, slots.MICROSECONDS[path])
        _add_histogram(handovers, [cell.name], cell.slots, slots.HANDOVER_HISTOGRAM, slots.HANDOVER_MICROSECONDS)
    yield from (messages, handovers)


def _add_histogram(
    metric: HistogramMetricFamily, labels: list[str], values: Sequence[int], start: int, microseconds: int
) -> None:
    below = [0, *accumulate(values[start : start + slots.BUCKETS])]
    buckets = [(edge, float(below[(number + 1) * _EDGE])) for number, edge in enumerate(LATENCY_EDGES)]
    metric.add_metric(labels, [*buckets, ("+Inf", float(below[-1]))], values[microseconds] / 1e6)


def _path_gauges(cells: Iterable[ScrapedCell]) -> Iterator[Metric]:
    labels = ["cell", "path"]
    sessions = GaugeMetricFamily("crossfade_sessions", "Open sessions.", labels=labels)
    memory = GaugeMetricFamily("crossfade_path_memory_bytes", "Memory (PSS) of the path's worker.", labels=labels)
    per_session = GaugeMetricFamily(
        "crossfade_session_memory_bytes",
        "Anonymous PSS of the worker above its baseline after the start, per session.",
        labels=labels,
    )
    build = InfoMetricFamily("crossfade_build", "The build that runs on a path.", labels=["cell", "path"])
    for cell in cells:
        for path, state in cell.paths.items():
            sessions.add_metric([cell.name, path], state.sessions)
            # What is not known is left out: a zero would look like a measurement.
            if state.memory_bytes is not None:
                memory.add_metric([cell.name, path], state.memory_bytes)
            if state.session_memory_bytes is not None:
                per_session.add_metric([cell.name, path], state.session_memory_bytes)
            if state.build is not None:
                build.add_metric([cell.name, path], {"build": state.build})
    yield from (sessions, memory, per_session, build)


def _rollout_gauges(cells: Iterable[ScrapedCell]) -> Iterator[Metric]:
    percentage = GaugeMetricFamily(
        "crossfade_rollout_percentage", "Percentage of users on v3 in the record.", labels=["cell"]
    )
    phase = GaugeMetricFamily(
        "crossfade_rollout_phase", "1 for the rollout's phase, 0 for the others.", labels=["cell", "phase"]
    )
    age = GaugeMetricFamily(
        "crossfade_flag_age_seconds", "Seconds since the flag was last known to be up to date.", labels=["cell"]
    )
    for cell in cells:
        percentage.add_metric([cell.name], cell.percentage)
        for name in PHASES:
            phase.add_metric([cell.name, name], float(name == cell.phase))
        age.add_metric([cell.name], cell.flag_age_s)
    yield from (percentage, phase, age)


def render(cells: Sequence[ScrapedCell], accept: str) -> tuple[bytes, str]:
    """Body and content type: OpenMetrics when `accept` names it, else Prometheus text."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(CellsCollector(cells))
    return encode(registry), content_type


Cells: TypeAlias = Callable[[], Awaitable[Sequence[ScrapedCell]]]


class Metrics:
    """Asks the cells for their figures at each scrape: figures that are kept would be older than what another cell has
    shown already, and a counter would go back.

    However many scrapers come, one question is on its way, and those who come meanwhile share the next.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._running: asyncio.Task[Sequence[ScrapedCell]] | None = None
        self._next: asyncio.Task[Sequence[ScrapedCell]] | None = None

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """As `render`, of figures that were asked for after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return render(await asyncio.shield(self._next), accept)

    async def _after(self, running: asyncio.Task[Sequence[ScrapedCell]] | None) -> Sequence[ScrapedCell]:
        if running is not None:
            await asyncio.wait({running})
        self._running, self._next = self._next, None
        return await self._cells()
