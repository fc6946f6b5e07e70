"""Memory figures: what the kernel's text says, and what it comes to per session."""

from __future__ import annotations

import os
import subprocess

import psutil
import pytest

from app.pool.memory import ProportionalShare, WorkerMemory, parse_smaps_rollup, read_rss, read_share

ROLLUP = """\
55d0c6e3d000-7ffd8a5f1000 ---p 00000000 00:00 0                          [rollup]
Rss:               21344 kB
Pss:               14210 kB
Pss_Dirty:         10812 kB
Pss_Anon:          10000 kB
Private_Dirty:      9000 kB
"""


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (ROLLUP, ProportionalShare(14210 * 1024, 10000 * 1024)),
        (ROLLUP.replace("Pss_Anon:          10000 kB\n", ""), ProportionalShare(14210 * 1024, 9000 * 1024)),
        ("", None),
        ("garbage\nRss: x\n", None),
    ],
)
def test_what_the_kernel_says(text: str, share: ProportionalShare | None) -> None:
    assert parse_smaps_rollup(text) == share


def test_an_own_process_is_measured_about_as_others_measure_it() -> None:
    rss = read_rss(os.getpid())
    share = read_share(os.getpid())
    assert rss is not None
    assert share is not None
    others = psutil.Process().memory_full_info()  # type: ignore[no-untyped-call]
    assert rss == pytest.approx(others.rss, rel=0.2)
    assert share.pss_bytes == pytest.approx(others.pss, rel=0.2)
    assert 0 < share.anonymous_bytes <= share.pss_bytes


def test_a_process_that_is_gone_has_no_memory() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert read_rss(process.pid) is None
    assert read_share(process.pid) is None


@pytest.mark.parametrize(
    ("now", "sessions", "expected"), [(150_000, 10, 5_000.0), (90_000, 10, 0.0), (150_000, 0, None)]
)
def test_per_session_is_what_lies_above_the_baseline(now: int, sessions: int, expected: float | None) -> None:
    figures = WorkerMemory(share=ProportionalShare(10**6, now), baseline=ProportionalShare(10**6, 100_000))
    assert figures.session_bytes(sessions) == expected


def test_without_a_measurement_nothing_is_said_per_session() -> None:
    assert WorkerMemory().session_bytes(10) is None
