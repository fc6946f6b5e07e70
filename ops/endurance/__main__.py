"""`python -m ops.endurance`: reads `MINUTES` and `SEED`; exit code 0 only if nothing grew and nobody was dropped.

The curves are saved as an SVG and the samples as JSON beside the results of the benchmarks.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from rich.console import Console

from ops.bench.processes import ROOT, BenchError
from ops.chaos.figures import Figure, as_table, held
from ops.endurance.picture import picture_of
from ops.endurance.run import Endured, endure
from ops.endurance.samples import judge

RESULTS = ROOT / "ops" / "bench" / "results"
MINUTES = 15.0
LEAST, MOST = 1.0, 24 * 60.0
WIDTH = 160


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def minutes_of(text: str) -> float:
    """How long to run. Raises `ValueError` with what is allowed."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not LEAST <= minutes <= MOST:
        raise ValueError(f"MINUTES={text!r}: a number from {LEAST:g} to {MOST:g} is needed")
    return minutes


def figures_of(endured: Endured) -> list[Figure]:
    """Everything that was promised, beside what was seen."""
    seen = f"{endured.users} passers-by served, {endured.refused} refused; {dict(endured.tally)}"
    return [
        held("endurance", "delivery contract and verified rollbacks", seen, endured.wrong, "kept throughout"),
        *judge(endured.samples),
    ]


def save(endured: Endured, figures: list[Figure], minutes: float) -> list[Path]:
    """Write picture and samples; returns the files."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = time.strftime("endurance-%Y%m%d-%H%M%S", time.gmtime())
    picture, document = RESULTS / f"{name}.svg", RESULTS / f"{name}.json"
    title = f"Crossfade, {minutes:g} minutes of churn, changes and kills (seed {endured.seed})"
    picture.write_text(picture_of(endured.samples, title), "utf-8")
    machine = {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    content = {"machine": machine, "seed": endured.seed, "figures": figures, "samples": endured.samples}
    document.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    return [picture, document]


def main() -> int:
    try:
        minutes = minutes_of(os.environ.get("MINUTES", f"{MINUTES:g}"))
    except ValueError as error:
        say(f"endurance: {error}")
        return 2
    seed = os.environ.get("SEED") or secrets.token_hex(4)
    say(f"{minutes:g} minutes, SEED={seed}")
    try:
        with tempfile.TemporaryDirectory(prefix="crossfade-endurance-") as folder:
            endured = asyncio.run(endure(Path(folder), minutes, seed, say))
        figures = figures_of(endured)
    except (BenchError, TimeoutError, ValueError) as error:
        say(f"endurance: {error or 'ran out of time'}")
        return 1
    Console(width=None if sys.stdout.isatty() else WIDTH).print(as_table(figures))
    for file in save(endured, figures, minutes):
        print(file)
    return int(any(figure.verdict == "MISSED" for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
