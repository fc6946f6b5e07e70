"""README, Grafana board and Prometheus rules name only metrics that a running service really sends."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from tests.service.conftest import Start, events_until_terminal

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MEASURED_WITHIN_S = 15.0
"""The memory of a worker is measured every 5 s, and that of a session only while there is one."""
SUFFIX = re.compile(r"_(bucket|sum|count|created)$")


def sent_by(text: str) -> set[str]:
    """Metrics of which a scrape has a value; the parts of a histogram count as one."""
    return {SUFFIX.sub("", sample.name) for family in text_string_to_metric_families(text) for sample in family.samples}


def promised() -> dict[str, set[str]]:
    """The metrics that each document names."""
    readme = (ROOT / "README.md").read_text()
    documents = {
        "README": "\n".join(re.findall(r"^\| `(crossfade_\w+)` \|", readme, re.MULTILINE)),
        "board": (ROOT / "dashboards/grafana/crossfade.json").read_text(),
        "rules": re.sub(r"crossfade_action|#.*", "", (ROOT / "ops/prometheus/rules.yml").read_text()),
    }
    return {
        name: {SUFFIX.sub("", word) for word in re.findall(r"\bcrossfade_\w+", text)}
        for name, text in documents.items()
    }


def test_what_the_documents_name_is_sent_and_the_readme_names_all_of_it(start: Start) -> None:
    service = start()
    with connect(f"{service.ws}?user=ada") as socket:
        assert json.loads(socket.recv())["type"] == "connection_ready"
        socket.send(json.dumps({"type": "chat", "payload": {"content": "hello"}}))
        assert events_until_terminal(socket.recv)[-1]["type"] == "agent_completed"
        end = time.monotonic() + MEASURED_WITHIN_S
        while "crossfade_session_memory_bytes" not in (sent := sent_by(service.http.get("/metrics").text)):
            assert time.monotonic() < end, "the memory of a session was not measured"
            time.sleep(0.1)
    named = promised()
    assert all(named.values())
    assert [(name, metrics - sent) for name, metrics in named.items() if metrics - sent] == []
    assert named["README"] == {name for name in sent if name.startswith("crossfade_")}
