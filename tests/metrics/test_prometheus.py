"""The metrics have the published names and labels, and the log is one JSON object per line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.logs import configure_logging
from app.metrics.counters import Counters
from app.metrics.prometheus import Metrics, ScrapedCell, render
from app.pool.state import PathState

# The published list: metric (as a scraper sees it) -> its labels beside `cell`.
PUBLISHED = {
    "crossfade_sessions": {"path"},
    "crossfade_messages_total": {"path", "transport", "outcome"},
    "crossfade_message_seconds": {"path"},
    "crossfade_admissions_total": {"path", "reason"},
    "crossfade_handovers_total": {"source", "target", "outcome"},
    "crossfade_handover_seconds": set(),
    "crossfade_path_memory_bytes": {"path"},
    "crossfade_session_memory_bytes": {"path"},
    "crossfade_path_restarts_total": {"path"},
    "crossfade_rollout_percentage": set(),
    "crossfade_rollout_phase": {"phase"},
    "crossfade_flag_age_seconds": set(),
    "crossfade_stale_events_total": set(),
    "crossfade_build_info": {"path", "build"},
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def figures(counters: Counters) -> ScrapedCell:
    known = PathState(True, None, "b1", 3, 2, 50_000_000, 12_000.5, 1, 60.0)
    unknown = PathState(False, "starting", None, 0, 0, None, None, 0, None)
    return ScrapedCell("a", counters.slots, {"v2": known, "v3": unknown}, 10, "progressing", 0.5)


def scrape(counters: Counters, accept: str = OPENMETRICS) -> dict[str, list[tuple[dict[str, str], float]]]:
    body, _ = render([figures(counters)], accept)
    parse = parse_openmetrics if accept == OPENMETRICS else parse_text
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return samples


def test_names_and_labels_are_the_published_ones() -> None:
    seen: dict[str, set[str]] = {}
    for name, samples in scrape(Counters()).items():
        base = name
        for suffix in ("_bucket", "_count", "_sum"):
            base = base.removesuffix(suffix)
        labels = {label for found, _ in samples for label in found} - {"le"}
        assert "cell" in labels, name
        seen[base] = seen.get(base, set()) | labels - {"cell"}
    assert seen == PUBLISHED


def test_counts_and_durations_reach_the_scraper() -> None:
    counters = Counters()
    counters.message("v3", "websocket", "ok", 0.010)
    counters.message("v3", "websocket", "error", 3.0)
    counters.message("v3", "http", "rejected")
    counters.admission("v3", "flag")
    counters.handover("v2", "v3", "moved", 0.001)
    counters.stale_event()
    samples = scrape(counters)
    labels = {"cell": "a", "path": "v3", "transport": "websocket", "outcome": "ok"}
    assert (labels, 1.0) in samples["crossfade_messages_total"]
    assert ({"cell": "a", "path": "v3", "reason": "flag"}, 1.0) in samples["crossfade_admissions_total"]
    moved = {"cell": "a", "source": "v2", "target": "v3", "outcome": "moved"}
    assert (moved, 1.0) in samples["crossfade_handovers_total"]
    assert samples["crossfade_stale_events_total"] == [({"cell": "a"}, 1.0)]
    assert samples["crossfade_handover_seconds_count"] == [({"cell": "a"}, 1.0)]
    assert ({"cell": "a", "path": "v3"}, 3.01) in samples["crossfade_message_seconds_sum"]
    buckets = {
        float(found["le"]): value
        for found, value in samples["crossfade_message_seconds_bucket"]
        if found["path"] == "v3"
    }
    assert min(edge for edge, value in buckets.items() if value == 1) == 0.01171875
    assert min(edge for edge, value in buckets.items() if value == 2) == 4.0


def test_what_is_not_known_is_absent_and_the_phase_is_one_hot() -> None:
    samples = scrape(Counters())
    assert samples["crossfade_path_memory_bytes"] == [({"cell": "a", "path": "v2"}, 50_000_000.0)]
    assert samples["crossfade_build_info"] == [({"cell": "a", "path": "v2", "build": "b1"}, 1.0)]
    assert [found["phase"] for found, value in samples["crossfade_rollout_phase"] if value] == ["progressing"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
        ("", "text/plain; version=0.0.4"),
    ],
)
def test_the_format_is_negotiated(accept: str, content_type: str) -> None:
    body, kind = render([figures(Counters())], accept)
    assert kind.startswith(content_type)
    assert body.endswith(b"# EOF\n") == accept.startswith("application/openmetrics")


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("restored_logging")
def test_the_log_is_json_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    structlog.get_logger().info("worker started", path="v3")
    structlog.get_logger().debug("one message")
    logging.getLogger("somelibrary").warning("odd: %s", "thing")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("worker started", "info"), ("odd: thing", "warning")]
    assert lines[0]["path"] == "v3"


@pytest.mark.usefixtures("restored_logging")
def test_an_exception_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("failed", reference="ab12")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


def counted(events: int) -> list[ScrapedCell]:
    counters = Counters()
    for _ in range(events):
        counters.stale_event()
    return [figures(counters)]


async def test_a_scrape_is_of_figures_asked_for_after_it_came_and_many_share_one_question() -> None:
    asked: asyncio.Queue[asyncio.Future[list[ScrapedCell]]] = asyncio.Queue()

    def ask() -> asyncio.Future[list[ScrapedCell]]:
        answer: asyncio.Future[list[ScrapedCell]] = asyncio.get_running_loop().create_future()
        asked.put_nowait(answer)
        return answer

    metrics = Metrics(ask)
    first = asyncio.create_task(metrics.scrape(""))
    question = await asked.get()
    later = [asyncio.create_task(metrics.scrape("")) for _ in range(20)]
    await asyncio.sleep(0)
    assert asked.empty(), "they wait for the next"
    question.set_result(counted(1))
    assert b'crossfade_stale_events_total{cell="a"} 1.0' in (await first)[0]
    question = await asked.get()
    later[0].cancel()  # a scraper that goes away takes the answer from nobody
    question.set_result(counted(2))
    bodies = [body for body, _ in await asyncio.gather(*later[1:])]
    assert all(b'crossfade_stale_events_total{cell="a"} 2.0' in body for body in bodies)
    assert asked.empty()
