"""Who is on v3: the share of the hash, and the same users after a restart and after 10, 0 and 10 %."""

from __future__ import annotations

import json
from math import sqrt

import pytest

from tests.service.conftest import Start

pytestmark = pytest.mark.slow
USERS = [f"cohort-{number}" for number in range(300)]


def test_the_cohort_is_the_same_after_a_restart_and_after_going_down_and_up_again(start: Start) -> None:
    service = start()
    service.command("start", percentage=10)
    first = service.on_v3(USERS)
    deviation = sqrt(0.1 * 0.9 * len(USERS))
    assert abs(len(first) - 30) <= 3 * deviation

    service.stop()
    service.start()
    assert service.on_v3(USERS) == first

    service.command("percentage", percentage=0)
    assert service.on_v3(USERS) == set()
    service.command("percentage", percentage=10)
    assert service.on_v3(USERS) == first

    service.command("percentage", percentage=50)
    assert first < service.on_v3(USERS)


def test_the_load_test_sees_the_share_and_no_broken_promise(start: Start) -> None:
    service = start()
    service.command("start", percentage=10)
    run = service.crossfade("loadtest", "--clients", "200", "--seconds", "3", "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["drops"] == {}
    assert report["broken_rules"] == {}
    assert report["share"] is not None
    assert report["finished"] == report["accepted"] > 0


@pytest.mark.parametrize(
    ("forced", "locked", "expected"), [("false", False, "v2"), ("true", False, "v3"), ("true", True, "v2")]
)
def test_the_environment_forces_a_path_but_not_past_a_lock(
    start: Start, forced: str, locked: bool, expected: str
) -> None:
    service = start(USE_WEBSOCKET_SUPERVISOR_V3=forced)
    if locked:
        answer = service.http.post("/api/rollout/rollback", json={"reason": "test"})
        assert answer.is_success
    who = service.get("/api/users/somebody")
    assert (who["path"], who["reason"]) == (expected, "rolled_back" if locked else "environment")
