"""The results of a benchmark: a table for people, and JSON for later comparison."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.cli.terminal import table


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line: ours beside a peer, medians over the rounds; `ratio` is the median of the rounds' own ratios.

    `must` and `aim` are limits of the ratio, or of ours itself, in its unit, where it is `judged` by that.
    """

    row: str
    point: str
    unit: str
    ours: float | None
    peer: float | None
    peer_name: str
    ratio: float | None
    better: Literal["higher", "lower"]
    must: float | None = None
    """None: reported only."""
    aim: float | None = None
    judged: Literal["ratio", "ours"] = "ratio"
    rounds: list[tuple[float, float]] = []
    """Our figure and the peer's, measured one after the other."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """How the figure compares with `must` and `aim`."""
        if self._figure is None or self.must is None:
            return "reported"
        if not self._reaches(self.must):
            return "MISSED"
        return "aim" if self.aim is not None and self._reaches(self.aim) else "must"

    @property
    def _figure(self) -> float | None:
        return self.ratio if self.judged == "ratio" else self.ours

    def _reaches(self, limit: float) -> bool:
        assert self._figure is not None
        return self._figure >= limit if self.better == "higher" else self._figure <= limit


def compare(
    rounds: Sequence[tuple[float, float]], *, row: str, point: str, unit: str, peer_name: str,
    better: Literal["higher", "lower"], must: float | None = None, aim: float | None = None,
    judged: Literal["ratio", "ours"] = "ratio", note: str = "",
) -> Result:  # fmt: skip
    """The line for a series of slices, each measured on ours and directly after that on the peer."""
    return Result(
        row=row,
        point=point,
        unit=unit,
        ours=statistics.median(ours for ours, _ in rounds),
        peer=statistics.median(peer for _, peer in rounds),
        peer_name=peer_name,
        ratio=statistics.median(ours / peer for ours, peer in rounds),
        better=better,
        must=must,
        aim=aim,
        judged=judged,
        rounds=list(rounds),
        note=note,
    )


def as_table(results: Sequence[Result]) -> str:
    """The table as text."""
    heads = ("row", "point", "ours", "peer", "unit", "against", "ratio", "must", "aim", "verdict", "")
    return table(heads, [_line(result) for result in results])


def _line(result: Result) -> tuple[str, ...]:
    sign = "≥" if result.better == "higher" else "≤"
    times = "x" if result.judged == "ratio" else ""
    return (
        result.row,
        result.point,
        _number(result.ours),
        _number(result.peer),
        result.unit,
        result.peer_name,
        "-" if result.ratio is None else f"{result.ratio:.2f}x",
        "-" if result.must is None else f"{sign}{result.must:g}{times}",
        "-" if result.aim is None else f"{sign}{result.aim:g}{times}",
        result.verdict,
        result.note,
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def save(results: Sequence[Result], folder: Path) -> Path:
    """Save the results with what is needed to judge them: when, and on which machine."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "results": results,
    }
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return file
