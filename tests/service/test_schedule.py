"""A plan that starts on schedule, on a real service, with a freeze window while its first stage bakes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Running, Start

pytestmark = pytest.mark.slow

STARTS_IN_S = 3.0
FREEZES_S, THAWS_S = 5.0, 10.0
"""After the start. The tick that starts it comes within a second, and the first stage is over inside the window."""
SOON_S = 60.0
POLL_S = 0.05
STAGE = '\n[[stage]]\npercentage = {}\nbake = "{}s"\nguardrails = []\nadvance = "automatic"\n'


def plan(start_at: float) -> str:
    stages = "".join(STAGE.format(percentage, bake_s) for percentage, bake_s in ((5, 6), (50, 1), (100, 1)))
    window = f"\n[[freeze]]\nfrom = {moment(start_at + FREEZES_S)}\nuntil = {moment(start_at + THAWS_S)}\n"
    return f'name = "night"\nholdback = 0\nstart_at = {moment(start_at)}\n{stages}{window}'


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def until(service: Running, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The rollout, once this is true of it."""
    end = time.monotonic() + SOON_S
    while not true(found := service.get("/api/rollout")):
        assert time.monotonic() < end, found
        time.sleep(POLL_S)
    return dict(found)


def test_a_scheduled_plan_starts_and_a_freeze_window_holds_it_but_not_a_rollback(start: Start, tmp_path: Path) -> None:
    service = start()
    start_at = round(time.time() + STARTS_IN_S, 3)
    file = tmp_path / "plan.toml"
    file.write_text(plan(start_at))
    applied = service.crossfade("plan", "apply", str(file))
    assert (applied.returncode, applied.stderr) == (0, "")
    waiting = service.get("/api/rollout")
    assert (waiting["phase"], waiting["next_percentage"], waiting["next_at"]) == ("idle", 5, start_at)

    assert until(service, lambda view: view["phase"] == "progressing")["percentage"] == 5
    held = until(service, lambda view: view["now"] >= view["next_at"])
    assert (held["percentage"], held["frozen_until"]) == (5, start_at + THAWS_S)
    status = service.crossfade("status").stdout
    assert "; frozen until " in status
    assert service.crossfade("rollback", "-m", "inside the window").returncode == 0
    assert service.get("/api/rollout")["percentage"] == 0
    assert service.crossfade("undo").returncode == 0

    done = until(service, lambda view: view["phase"] == "completed")
    assert (done["percentage"], done["frozen_until"]) == (100, None)
    entries = service.get("/api/rollout/events")["items"][::-1]
    steps = [(entry["what"].split()[0].rstrip(","), entry["source"].split()[0]) for entry in entries]
    assert steps == [
        ("plan", "cli"),
        ("start", "schedule"),
        ("rollback", "cli"),
        ("undo", "cli"),
        ("promote", "schedule"),
        ("promote", "schedule"),
        ("complete", "schedule"),
    ]
    by_schedule = [entry["at"] for entry in entries if entry["source"] == "schedule"]
    assert start_at <= by_schedule[0] < start_at + FREEZES_S
    assert all(at >= start_at + THAWS_S for at in by_schedule[1:]), "something advanced inside the window"
