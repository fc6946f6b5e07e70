"""`python -m ops.bench`: runs the rows, prints the table of ratios, saves the JSON. Exit code 1 if a "must" is
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
from pathlib import Path

from ops.bench.processes import ROOT, BenchError
from ops.bench.report import Result, as_table, save
from ops.bench.rows import Bench, Row, disconnects, memory, parts, spinning, storm, throughput

ROWS: dict[str, Row] = {row.NAME: row for row in (throughput, memory, disconnects, storm, spinning, parts)}
RESULTS = ROOT / "ops" / "bench" / "results"
LIMIT_S = 900.0
"""Most seconds of one row; a benchmark that hangs is ended."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument("--rows", nargs="*", choices=sorted(ROWS), default=list(ROWS), help="default: all")
    parser.add_argument("--rounds", type=int, default=7, help="measured slices of each server and point")
    parser.add_argument("--slice", type=float, default=1.0, dest="slice_s", help="seconds, 0.3 to 1.5")
    parser.add_argument("--cells", type=int, default=1, help="serve with so many cells (row throughput)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")
    return parser.parse_args()


async def measure(rows: list[str], rounds: int, slice_s: float, cells: int) -> list[Result]:
    results: list[Result] = []
    for name in rows:
        print(f"{name}: {ROWS[name].WHAT}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
            async with asyncio.timeout(LIMIT_S):
                async for result in ROWS[name].run(Bench(Path(folder), rounds, slice_s, cells)):
                    results.append(result)
                    print(as_table([result]).splitlines()[1], file=sys.stderr, flush=True)
    return results


def main() -> int:
    chosen = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    try:
        results = asyncio.run(measure(chosen.rows, chosen.rounds, chosen.slice_s, chosen.cells))
    except (BenchError, TimeoutError) as error:
        print(f"bench: {error or 'ran out of time'}", file=sys.stderr)
        return 1
    print(as_table(results))
    print(f"\n{save(results, chosen.results)}")
    return int(any(result.verdict == "MISSED" for result in results))


if __name__ == "__main__":
    sys.exit(main())
