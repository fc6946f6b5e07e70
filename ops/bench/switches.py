"""`python -m ops.bench.switches`: thousands of live sessions with messages in flight, while paths are switched, killed,
stopped and reloaded.

It prints what became of every message and how long each switch took. Exit code 1 if anything was closed, lost,
duplicated, reordered or forgotten. It uses the service as clients and an operator do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from ops.bench.crowd import Crowd
from ops.bench.processes import ROOT, BenchError
from ops.bench.switching import HANG_LIMIT_S, Disturbance, Disturber, Outcome
from ops.chaos.service import chaos_service

RESULTS = ROOT / "ops" / "bench" / "results"
LIMIT_S = 900.0

SCRIPT: tuple[str, ...] = (
    "set 100", "kill v3", "set 0", "set 100", "rollback",
    "set 100", "hang v3", "set 0", "set 100", "load v3", "rollback",
    "set 100", "kill v3", "set 0", "set 100", "kill v2", "rollback",
    "set 100", "set 0", "set 100", "load v3", "rollback frozen",
    "set 100", "kill v3", "set 0", "set 100", "kill v3", "rollback",
)  # fmt: skip
"""20 switches back and forth, 5 kills, 2 stops (a hang, and a v3 that is stopped during a rollback), 2 loads."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the run."""

    at: str
    sessions: int
    outcome: Outcome
    disturbances: list[Disturbance]


async def run(sessions: int, script: tuple[str, ...]) -> Report:
    """Do the whole run, on services of its own."""
    with tempfile.TemporaryDirectory(prefix="crossfade-switches-") as name:
        async with chaos_service(Path(name), max_sessions="19000", hang_v3_s=str(HANG_LIMIT_S)) as service:
            await service.ignore_evidence()
            crowd = Crowd(service.ws, sessions)
            await crowd.open()
            say(f"{sessions} sessions are open")
            gc.collect()
            gc.freeze()
            disturber = Disturber(service, crowd)
            for what in script:
                disturbance = await disturber.disturb(what)
                say(f"{what}: {disturbance.moved} moved")
            outcome = await disturber.judge()
        say(outcome.words())
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Report(at=at, sessions=sessions, outcome=outcome, disturbances=disturber.disturbances)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.switches", description=__doc__)
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument(
        "--steps", type=int, default=len(SCRIPT), help="number of steps of the script, from its beginning"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")
    chosen = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    try:
        report = asyncio.run(bounded(chosen.sessions, SCRIPT[: chosen.steps]))
    except (BenchError, TimeoutError) as error:
        print(f"switches: {error!r}", file=sys.stderr)
        return 1
    for disturbance in report.disturbances:
        print(disturbance.words())
    print(report.outcome.words())
    chosen.results.mkdir(parents=True, exist_ok=True)
    file = chosen.results / time.strftime("switches-%Y%m%d-%H%M%S.json", time.gmtime())
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    print(file)
    return 0 if report.outcome.kept and report.outcome.tried else 1


async def bounded(sessions: int, script: tuple[str, ...]) -> Report:
    async with asyncio.timeout(LIMIT_S):
        return await run(sessions, script)


if __name__ == "__main__":
    sys.exit(main())
