"""What leaves the service for machines: the metrics, made from the ledger when somebody scrapes, and the log.

Labels come from closed sets and no id is among them; it must not know how anything it shows came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

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
# Every half doubling is a `le`: an edge of the fine buckets, so that the counts are exact, and 48 of them, not 768.
# A duration exactly on an edge counts above it, where Prometheus would have it below; a clock never notices.
LATENCY_EDGES: tuple[str, ...] = tuple(
    repr(slots.bucket_start_s(index)) for index in range(_EDGE, slots.BUCKETS, _EDGE)
)


@dataclass(frozen=True, slots=True)
class ScrapedCell:
    """What one cell of this host has to show."""

    name: str
    slots: Sequence[int]
    """As `app.metrics.counters` lays them out."""
    paths: Mapping[PathName, PathState]
    percentage: int
    phase: Phase
    flag_age_s: float


class CountersCollector(Collector):
    """All metrics of the host's cells, read at scrape time."""

    def __init__(self, cells: Callable[[], Iterable[ScrapedCell]]) -> None:
        self._cells = cells

    def collect(self) -> Iterator[Metric]:
        cells = list(self._cells())
        yield from _counters(cells)
        yield from _histograms(cells)
        yield from _path_gauges(cells)
        yield from _rollout_gauges(cells)

    def describe(self) -> Iterator[Metric]:
        """None ahead of time: registering must not read the cells."""
        return iter(())


def _counters(cells: Iterable[ScrapedCell]) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        "crossfade_messages", "Messages by how they ended.", labels=["cell", "path", "transport", "outcome"]
    )
    admissions = CounterMetricFamily(
        "crossfade_admissions", "Sessions bound to a path, and why.", labels=["cell", "path", "reason"]
    )
    handovers = CounterMetricFamily(
        "crossfade_handovers", "Live sessions handed over.", labels=["cell", "source", "target", "outcome"]
    )
    stale = CounterMetricFamily("crossfade_stale_events", "Events of a fenced epoch, thrown away.", labels=["cell"])
    restarts = CounterMetricFamily(
        "crossfade_path_restarts", "Times a path's worker was started again.", labels=["cell", "path"]
    )
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
        "From acceptance to the terminal event; ok and error only.",
        labels=["cell", "path"],
    )
    handovers = HistogramMetricFamily(
        "crossfade_handover_seconds", "From the decision to the new path.", labels=["cell"]
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
    sessions = GaugeMetricFamily("crossfade_sessions", "Live sessions.", labels=labels)
    memory = GaugeMetricFamily("crossfade_path_memory_bytes", "PSS of the path's worker.", labels=labels)
    per_session = GaugeMetricFamily(
        "crossfade_session_memory_bytes", "Anonymous PSS above the warm baseline, per session.", labels=labels
    )
    build = InfoMetricFamily("crossfade_build", "What runs on a path.", labels=["cell", "path"])
    for cell in cells:
        for path, state in cell.paths.items():
            sessions.add_metric([cell.name, path], state.sessions)
            # What is not known is absent: a zero would be a figure.
            if state.memory_bytes is not None:
                memory.add_metric([cell.name, path], state.memory_bytes)
            if state.session_memory_bytes is not None:
                per_session.add_metric([cell.name, path], state.session_memory_bytes)
            if state.build is not None:
                build.add_metric([cell.name, path], {"build": state.build})
    yield from (sessions, memory, per_session, build)


def _rollout_gauges(cells: Iterable[ScrapedCell]) -> Iterator[Metric]:
    percentage = GaugeMetricFamily(
        "crossfade_rollout_percentage", "Percentage of users on v3 by the record.", labels=["cell"]
    )
    phase = GaugeMetricFamily("crossfade_rollout_phase", "1 for the phase it is in.", labels=["cell", "phase"])
    age = GaugeMetricFamily("crossfade_flag_age_seconds", "Since the flag was last read.", labels=["cell"])
    for cell in cells:
        percentage.add_metric([cell.name], cell.percentage)
        for name in PHASES:
            phase.add_metric([cell.name, name], float(name == cell.phase))
        age.add_metric([cell.name], cell.flag_age_s)
    yield from (percentage, phase, age)


class Metrics:
    """Renders the metrics of this host's cells in the format that the scraper accepts."""

    def __init__(self, cells: Callable[[], Iterable[ScrapedCell]]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(CountersCollector(cells))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Body and content type: OpenMetrics when `accept` names it, else Prometheus text."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
