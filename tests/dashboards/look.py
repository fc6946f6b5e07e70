"""Serves the pages over a rollout in memory, to be looked at: `python tests/dashboards/look.py PHASE [PORT]`.

PHASE is one of `STATES`; nothing here is collected as a test, and the service is not needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rollout.views import CellState, RolloutView
from tests.dashboards.memory import NO_FIGURES, VERBS, MemorySource, make_app, no_verdicts, path, receipt, rollout

STATES: dict[str, Callable[[], RolloutView]] = {
    "progressing": rollout,
    "paused": lambda: rollout("paused"),
    "completed": lambda: rollout("completed", 100),
    "rolled_back": lambda: rollout("rolled_back", 0),
    "rolling_back": lambda: rollout(
        "rolled_back",
        0,
        last_rollback=receipt(verified_at=None, sessions_moved=120, existing_moved_ms=None, silent_cells=["b"]),
        cells=[
            CellState(name="a", revision=18, sessions=930, silent_s=0.1, silent=False, has_lock=True),
            CellState(name="b", revision=17, sessions=930, silent_s=12.0, silent=True, has_lock=False),
        ],
    ),
    "idle": lambda: rollout("idle", 0),
    "moving": lambda: rollout(
        "rolled_back",
        0,
        last_rollback=receipt(verified_at=None, sessions_moved=120, existing_moved_ms=None),
        moving=66,
    ),
    "store_down": lambda: rollout(
        allowed={
            verb: "" if verb == "rollback" else "the store cannot be reached; only a rollback works without it"
            for verb in VERBS
        },
    ),
    "builds_differ": lambda: rollout(
        paths=[path("v2"), path("v3", build="b7c9e21, b8d01f4")],
        build_notes=[
            "v3 runs build b7c9e21 in a@one:8000 and build b8d01f4 in a@two:8000: "
            "no more users are moved to v3 until they run the same",
            "v3 on two:8000 is served from shop.v4:create: its setting was changed after build b7c9e21 was loaded",
        ],
    ),
    "forced": lambda: rollout(forced=False),
    "no_data": lambda: rollout(
        "progressing",
        paths=[path("v2", **NO_FIGURES), path("v3", **NO_FIGURES, available=False, unavailable_reason="not started")],
        verdicts=no_verdicts(),
        unleash="unreachable",
    ),
}

if __name__ == "__main__":
    phase, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8123
    uvicorn.run(make_app(MemorySource(STATES[phase]())), port=port, log_level="warning")
