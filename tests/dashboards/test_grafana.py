"""The Grafana dashboard asks for metrics and labels that the service really has, and for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.metrics.counters import Counters
from app.metrics.prometheus import ScrapedCell, render
from app.pool.state import PathState
from dashboards.base.render import DASHBOARDS

FILE = Path(DASHBOARDS / "grafana" / "crossfade.json")
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())


def published() -> dict[str, set[str]]:
    """Each sample's name with its labels, as a scraper sees them."""
    state = PathState(True, None, "b1", 3, 2, 50_000_000, 12_000.5, 1, 60.0)
    cell = ScrapedCell("a", Counters().slots, {"v2": state, "v3": state}, 10, "progressing", 0.5)
    text = render([cell], "text/plain")[0].decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


PUBLISHED = published()


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])
    yield DASHBOARD["templating"]["list"][1]["query"]


def asked_for() -> set[str]:
    return {name for text in expressions() for name in re.findall(r"\bcrossfade_\w+", text)}


def test_every_metric_that_is_asked_for_is_there() -> None:
    assert asked_for() <= PUBLISHED.keys()


def test_every_metric_that_is_there_is_shown() -> None:
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in PUBLISHED}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked_for()}
    assert families - shown == set()


@pytest.mark.parametrize("text", sorted(set(expressions())))
def test_every_label_that_is_asked_for_is_there(text: str) -> None:
    labels = set().union(*(PUBLISHED[name] for name in re.findall(r"\bcrossfade_\w+", text)))
    used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", text))
    for group in re.findall(r"\bby \(([^)]*)\)", text):
        used |= {name.strip() for name in group.split(",")}
    assert used <= labels


def test_a_legend_names_labels_that_its_query_keeps() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            kept = {
                name.strip() for group in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for name in group.split(",")
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_gaps_are_not_drawn_over_and_the_paths_differ_in_more_than_colour() -> None:
    charts = [panel for panel in DASHBOARD["panels"] if panel["type"] == "timeseries"]
    assert len(charts) >= 8
    for panel in charts:
        assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
        assert any(
            entry["id"] == "custom.lineStyle"
            for over in panel["fieldConfig"]["overrides"]
            for entry in over["properties"]
        )


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
