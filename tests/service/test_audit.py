"""Everything that somebody can do to a real service leaves its line in the audit."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.control.record import MOMENT
from rollout.plan import QUICK_PLAN
from rollout.plan_writer import dump_toml
from tests.service.conftest import Start

pytestmark = pytest.mark.slow

# Method, address under /api, body, whether it needs a revision, and how the audit calls it.
DONE: list[tuple[str, str, dict[str, Any] | None, bool, str]] = [
    ("PUT", "rollout/plan", {"toml": dump_toml(QUICK_PLAN)}, True, "plan"),
    ("POST", "rollout/start", {"percentage": 10}, True, "start"),
    ("POST", "rollout/percentage", {"percentage": 20}, True, "set"),
    ("POST", "rollout/resume", {}, True, "resume"),
    ("POST", "rollout/pause", {}, True, "pause"),
    ("POST", "rollout/promote", {"full": True}, True, "promote"),
    ("POST", "rollout/notes", {"text": "why"}, False, "note"),
    ("PUT", "users/ada%2F7/pin", {"path": "v3"}, False, "pin"),
    ("DELETE", "users/ada%2F7/pin?reason=why", None, False, "unpin"),
    ("POST", "rollout/rollback", {}, False, "rollback"),
    ("POST", "rollout/undo", {}, True, "undo"),
    ("POST", "rollout/rollback", {}, False, "rollback"),
    ("POST", "rollout/unlock", {}, True, "unlock"),
    ("POST", "paths/v3/load", {"build": "next"}, False, "load"),
]


def test_every_act_leaves_a_line_that_says_who_what_when_why_from_where_and_how_it_was(start: Start) -> None:
    service = start()
    began = time.time()
    for method, path, good, revised, _ in DONE:
        headers = {"If-Match": service.http.get("/api/rollout").headers["ETag"]} if revised else {}
        body = good if good is None or "text" in good else {**good, "reason": "why"}
        answer = service.http.request(method, f"/api/{path}", json=body, headers=headers)
        assert answer.is_success, (path, answer.text)
    entries = service.get("/api/rollout/events", limit="200")["items"][::-1]
    assert [entry["what"].split()[0].rstrip(",") for entry in entries] == [what for *_, what in DONE]
    for entry in entries:
        assert (entry["who"], entry["role"], entry["source"]) == ("operator on this host", "manager", "api 127.0.0.1")
        assert entry["reason"] == "why", entry
        assert began <= entry["at"] <= time.time()
        assert set(entry["before"]) == set(entry["after"]) == {"phase", "percentage", "stage"}
        for path in ("v2", "v3"):
            assert set(entry["figures"][path]) == set(MOMENT)
            assert entry["figures"][path]["build"]
            assert entry["figures"][path]["users"] == 0
    assert [entry["after"]["percentage"] for entry in entries[1:4]] == [10, 20, 20]
    assert entries[-1]["figures"]["v3"]["build"] == "next"
    assert [entry["what"] for entry in entries[7:9]] == ["pin ada/7 to v3", "unpin ada/7"]
    kept = {"note", "pin", "unpin", "load"}  # the record stays as it is
    changes = [entry["revision"] for entry in entries if entry["what"].split()[0] not in kept]
    assert changes == list(range(1, len(changes) + 1))
