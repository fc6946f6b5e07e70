"""The rows of the comparison, one small module each: `NAME`, `WHAT` and `run(bench)`, which yields results.

A new row is a new module here and its name in `ROWS`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from ops.bench.report import Result


class Bench(Struct, frozen=True):
    """How a benchmark is run: the folder for temporary files, the number of rounds, the length of a slice."""

    folder: Path
    rounds: int
    slice_s: float
    cells: int = 1
    """Gateways of the service under test, where a row measures throughput."""


class Row(Protocol):
    """A module of this package."""

    NAME: str
    WHAT: str

    def run(self, bench: Bench) -> AsyncIterator[Result]: ...
