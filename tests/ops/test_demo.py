"""The demo: its script and claims as values, and shortened runs with the real service and real clients."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from app.loadtest.report import CohortShare, LoadReport
from ops.demo import story
from ops.demo.claims import Seen, claims_of
from ops.demo.processes import ROOT
from ops.demo.run import BROKEN, HELD, demo
from ops.demo.script import FAULTS, BadSetting, Script, read_script
from rollout.views import RollbackView

CHANCE = random.Random(1)
SHORT = Script(7, warm_s=0.5, earliest_s=3.0, latest_s=4.0, calm_s=0.2, hold_s=0.3, slack_s=120.0, plays_out=False)
ROLLBACK = RollbackView(
    id="1-0",
    at=1.0,
    by="evidence",
    reason="harm shown by crashes",
    new_stopped_ms=1.0,
    existing_moved_ms=2.0,
    sessions_to_move=0,
    sessions_moved=0,
    closed=0,
    interrupted=0,
    verified_at=2.0,
    cells=["a"],
    silent_cells=[],
)
REPORT = LoadReport(
    clients=300,
    connected=300,
    failures={},
    seconds=1.0,
    sent=100,
    accepted=100,
    finished=100,
    unknown=0,
    messages_per_second=100.0,
    p50_ms=1.0,
    p99_ms=2.0,
    drops={},
    refusals={},
    errors={"interrupted": 3},
    broken_rules={},
    violations=[],
    share=CohortShare(300, 300, 100.0),
)
SEEN = Seen(ROLLBACK, deaths=2, interrupted=3)


def held(seen: Seen, report: LoadReport, *, fault: bool = True) -> list[bool]:
    return [claim.held for claim in claims_of(seen, report, fault=fault)]


def test_the_seed_chooses_the_moment() -> None:
    moments = [read_script({"SEED": str(seed)}, CHANCE).fault_after_s for seed in (1, 2, 1)]
    assert moments[0] == moments[2] != moments[1]
    assert all(4.0 <= moment <= 18.0 for moment in moments)
    drawn = {read_script({}, random.Random(number)).seed for number in range(5)}
    assert len(drawn) > 1


def test_the_default_fits_into_two_minutes_and_without_a_fault_it_is_as_long_as_asked() -> None:
    assert all(read_script({"SEED": str(seed)}, CHANCE).talk_s < 80 for seed in range(100))
    assert read_script({"FAULT": "none"}, CHANCE).talk_s == pytest.approx(600)
    assert read_script({"FAULT": "none", "MINUTES": "1.5"}, CHANCE).talk_s == pytest.approx(90)


@pytest.mark.parametrize(
    ("name", "value"),
    [("FAULT", "hang"), ("SEED", "x"), ("SEED", "-1"), ("CLIENTS", "1.5"), ("MINUTES", "0"), ("MINUTES", "nan")],
)
def test_a_bad_setting_is_named_with_its_value(name: str, value: str) -> None:
    assert value not in FAULTS
    with pytest.raises(BadSetting, match=f"{name}='{value}'"):
        read_script({"FAULT": "none", name: value}, CHANCE)


def test_everything_held() -> None:
    assert held(SEEN, REPORT) == [True] * 5
    calm = msgspec.structs.replace(REPORT, errors={})
    assert held(Seen(None, deaths=0, interrupted=0), calm, fault=False) == [True] * 5


@pytest.mark.parametrize(
    ("broken", "rollback"),
    [
        (0, None),
        (0, msgspec.structs.replace(ROLLBACK, by="ada")),
        (0, msgspec.structs.replace(ROLLBACK, verified_at=None)),
        (0, msgspec.structs.replace(ROLLBACK, closed=1)),
    ],
)
def test_a_rollback_that_is_not_what_was_promised_breaks_its_claim(broken: int, rollback: RollbackView | None) -> None:
    results = held(Seen(rollback, deaths=2, interrupted=3), REPORT)
    assert [number for number, result in enumerate(results) if not result] == [broken]


@pytest.mark.parametrize(
    ("broken", "changes"),
    [
        (1, {"drops": {1006: 1}}),
        (1, {"connected": 299}),
        (2, {"finished": 99}),
        (2, {"broken_rules": {"seq gap-free": 1}}),
        (2, {"accepted": 0, "finished": 0}),
        (3, {"errors": {"interrupted": 4}}),
        (3, {"errors": {"interrupted": 3, "internal": 1}}),
        (3, {"refusals": {"rate_limited": 1}}),
        (4, {"share": None}),
        (4, {"share": CohortShare(299, 300, 100.0)}),
    ],
)
def test_what_the_clients_saw_breaks_the_claim_it_belongs_to(broken: int, changes: dict[str, Any]) -> None:
    results = held(SEEN, msgspec.structs.replace(REPORT, **changes))
    assert [number for number, result in enumerate(results) if not result] == [broken]


@pytest.mark.parametrize("seen", [Seen(ROLLBACK, 0, 0), Seen(None, 1, 0)])
def test_without_a_fault_nothing_may_die_or_be_rolled_back(seen: Seen) -> None:
    assert held(seen, msgspec.structs.replace(REPORT, errors={}), fault=False) == [False, True, True, True, True]


@pytest.fixture
def no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo leaves its folder, if it leaves it; no process may be left in any case."""
    before = below()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert below() <= before


def below() -> set[psutil.Process]:
    """All processes below this one; other tests' services are among them."""
    return set(psutil.Process().children(recursive=True))  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_a_bad_release_is_rolled_back_and_its_repair_reaches_everybody(
    no_trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asyncio.run(demo(SHORT)) == HELD
    told = capsys.readouterr().out
    steps = [
        "crossfade start 10:",
        "load v3 3.1 --live",
        "death 1 of v3's worker",
        "rolled back by evidence",
        "verified: new stopped in",
        "load v3 3.2",
        "crossfade start 10:",
        "crossfade set 50:",
        "crossfade promote --full: 300 of 300",
        "drops       0",
    ]
    at = 0
    for step in steps:
        assert step in told[at:], told
        at = told.index(step, at) + len(step)
    assert told.count("  held ") == 5
    assert list(no_trace.iterdir()) == []


@pytest.mark.slow
def test_a_release_that_is_not_bad_fails_the_demo_and_its_logs_stay(
    no_trace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "BAD", story.GOOD)
    monkeypatch.setattr(story, "FAIL_S", 1.0)
    assert asyncio.run(demo(SHORT)) == BROKEN
    assert "v3 was not rolled back within 1 s; 0 deaths" in capsys.readouterr().out
    (folder,) = no_trace.iterdir()
    assert (folder / "service.log").exists()


@pytest.mark.slow
def test_without_a_fault_it_goes_to_everybody(no_trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(7, "none", clients=40, warm_s=0.3, hold_s=0.3, slack_s=120.0, plays_out=False)
    assert asyncio.run(demo(script)) == HELD
    told = capsys.readouterr().out
    assert "nothing was rolled back: 0 deaths, 0 rollbacks" in told
    assert told.count("  held ") == 5


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything(no_trace: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.demo"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**_clean(), "TMPDIR": str(no_trace)},
    )  # fmt: skip
    assert process.stdout is not None
    while "clients connected" not in (line := process.stdout.readline()):
        assert line, process.stderr and process.stderr.read()
    started = psutil.Process(process.pid).children(recursive=True)  # type: ignore[no-untyped-call]
    process.send_signal(number)
    output, errors = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "stopped; the service and the clients were ended" in output
    assert errors == ""
    assert len(started) == 4, started  # the service with two workers, and the clients
    assert not [each for each in started if each.is_running()]
    assert list(no_trace.iterdir()) == []


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("SEED", "FAULT", "MINUTES", "CLIENTS")}
