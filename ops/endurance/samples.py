"""What a service holds at one moment, and whether it grew over a run: memory, descriptors, and the files of its store.

The judgement is pure: it compares the last third of a run with the one before, when caches are full and what has an end
has begun to end.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from ops.chaos.figures import Figure

MIB = 1024 * 1024
GROWTH = 1.10
"""The median of the last third over that of the third before it; more is a leak."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at one moment. Memory is the proportional set size (PSS) in bytes."""

    at_s: float
    """Seconds since the start of the run."""
    gateway_bytes: int
    workers_bytes: int
    gateway_descriptors: int
    control_bytes: int
    """The database of the control record, with its write-ahead log."""
    sessions_bytes: int
    """The database of sessions and series, with its write-ahead log."""
    sessions: int
    """Sessions that the service counts."""


class Series(msgspec.Struct, frozen=True):
    """One line of the picture: how it is called, in which unit, and how much it may grow whatever its size."""

    name: str
    field: str
    unit: str
    scale: float
    slack: float
    """Growth that is no leak, in the unit."""


SERIES = (
    Series("gateway memory", "gateway_bytes", "MiB", 1 / MIB, 6),
    Series("workers' memory", "workers_bytes", "MiB", 1 / MIB, 6),
    Series("gateway descriptors", "gateway_descriptors", "", 1, 40),
    Series("control database", "control_bytes", "MiB", 1 / MIB, 4),
    Series("session database", "sessions_bytes", "MiB", 1 / MIB, 6),
    Series("sessions", "sessions", "", 1, 50),
)


def sample(process: psutil.Process, data: Path, at_s: float, sessions: int) -> Sample:
    """Look at a service's processes and files now."""
    workers = process.children(recursive=True)  # type: ignore[no-untyped-call]
    return Sample(
        at_s=at_s,
        gateway_bytes=_pss(process),
        workers_bytes=sum(_pss(each) for each in workers),
        gateway_descriptors=int(process.num_fds()),  # type: ignore[no-untyped-call]
        control_bytes=_size(data, "control"),
        sessions_bytes=_size(data, "sessions"),
        sessions=sessions,
    )


def values(samples: Sequence[Sample], series: Series) -> list[float]:
    """One series in its unit."""
    return [getattr(each, series.field) * series.scale for each in samples]


def judge(samples: Sequence[Sample]) -> list[Figure]:
    """A figure a series: its last third beside the third before. Raises `ValueError` for fewer than six samples."""
    if len(samples) < 6:
        raise ValueError(f"{len(samples)} samples are too few to be judged; at least 6 are needed")
    return [_judged(series, values(samples, series)) for series in SERIES]


def _judged(series: Series, seen: list[float]) -> Figure:
    third = len(seen) // 3
    before, after = statistics.median(seen[-2 * third : -third]), statistics.median(seen[-third:])
    limit = max(before * GROWTH, before + series.slack)
    unit = f" {series.unit}" if series.unit else ""
    return Figure(
        proof="endurance",
        asked=f"{series.name}: median of the last third beside the third before",
        seen=f"{before:.1f} → {after:.1f}{unit}, highest {max(seen):.1f}{unit}",
        target=f"≤ {limit:.1f}{unit}",
        verdict="pass" if after <= limit else "MISSED",
        values=seen,
    )


def _pss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        return int(process.memory_full_info().pss)  # type: ignore[no-untyped-call]
    return 0


def _size(data: Path, name: str) -> int:
    total = 0
    for file in data.glob(f"{name}*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
