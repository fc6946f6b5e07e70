"""The examples for Prometheus and Alertmanager use metrics, labels and an address that the service has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from app.api.hooks import LABEL, ROLLBACK, alertmanager
from tests.dashboards.test_grafana import PUBLISHED

FOLDER = Path(__file__).resolve().parents[2] / "ops" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"][0]["rules"]
ALERTMANAGER: dict[str, Any] = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
SELECTOR = re.compile(r"\b(crossfade_\w+)(?:\{([^}]*)\})?")


def test_every_metric_and_label_of_a_rule_is_there() -> None:
    asked = [found for rule in RULES for found in SELECTOR.findall(rule["expr"])]
    assert {name for name, _ in asked} <= PUBLISHED.keys()
    for name, selector in asked:
        assert set(re.findall(r"(\w+)\s*=", selector)) <= PUBLISHED[name], name
    assert len(asked) > len(RULES)


def test_every_alert_says_what_is_wrong_and_brackets_are_closed() -> None:
    for rule in RULES:
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        for opening, closing in ("()", "{}", "[]"):
            assert rule["expr"].count(opening) == rule["expr"].count(closing), rule["alert"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_what_asks_for_a_rollback_is_routed_to_the_hook() -> None:
    assert [rule["alert"] for rule in RULES if rule["labels"].get(LABEL) == ROLLBACK] == [
        "CrossfadeV3Errors",
        "CrossfadeV3Crashes",
    ]
    (route,) = ALERTMANAGER["route"]["routes"]
    assert route["matchers"] == [f'{LABEL}="{ROLLBACK}"']
    (receiver,) = (each for each in ALERTMANAGER["receivers"] if each["name"] == route["receiver"])
    (hook,) = receiver["webhook_configs"]
    assert {hook["url"].partition(":8000")[2]} == alertmanager.paths
    assert hook["http_config"]["authorization"]["type"] == "Bearer"
