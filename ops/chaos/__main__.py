"""`python -m ops.chaos`: kills, stops and cuts off parts of real services, and prints each promise beside what was
measured.

The results are saved as JSON. Exit code 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
from rich.console import Console

from ops.bench.processes import ROOT, BenchError
from ops.chaos import kills, outage, propagation, silence, succession
from ops.chaos.figures import Figure, as_table

RESULTS = ROOT / "ops" / "bench" / "results"
LIMIT_S = 1200.0
"""Most seconds of one proof; one that hangs is ended."""
WIDTH = 160
"""Characters per line where there is no terminal."""
Proof = Callable[[Path, argparse.Namespace], AsyncIterator[Figure]]

PROOFS: dict[str, Proof] = {
    "kills": lambda folder, chosen: kills.proof(folder, chosen.kills, chosen.seed, say),
    "command": lambda folder, chosen: propagation.on_one_host(folder, chosen.rounds),
    "command-hosts": lambda folder, chosen: propagation.on_two_hosts(folder, chosen.rounds),
    "silent": lambda folder, chosen: silence.of_one_host(folder),
    "silent-hosts": lambda folder, chosen: silence.of_another_host(folder),
    "database-killed": lambda folder, chosen: outage.go_away(folder, "killed"),
    "database-hung": lambda folder, chosen: outage.go_away(folder, "hung"),
    "leader": lambda folder, chosen: succession.take_over(folder, max(1, chosen.rounds // 3)),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.chaos", description=__doc__)
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help=f"default: all of {', '.join(PROOFS)}")
    parser.add_argument("--kills", type=int, default=50, help="of the service, at random points of a rollout")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of the kills; default: a new one, which is said")
    parser.add_argument("--rounds", type=int, default=10, help="commands that are timed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.proofs if name not in PROOFS]
    if unknown:
        parser.error(f"no such proof: {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    return chosen


async def prove(names: list[str], chosen: argparse.Namespace) -> list[Figure]:
    """Run all of them, one after the other. Raises `BenchError`, `TimeoutError`."""
    figures: list[Figure] = []
    for name in names:
        say(f"{name} …")
        with tempfile.TemporaryDirectory(prefix="crossfade-chaos-") as folder:
            async with asyncio.timeout(LIMIT_S):
                async for figure in PROOFS[name](Path(folder), chosen):
                    figures.append(figure)
                    say(f"{figure.verdict}: {figure.asked}: {figure.seen}")
    return figures


def save(figures: list[Figure], folder: Path) -> Path:
    """Save them with what is needed to judge them: when, on which machine, and how busy it was."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "load_average": os.getloadavg(),
        "figures": figures,
    }
    file = folder / time.strftime("chaos-%Y%m%d-%H%M%S.json", time.gmtime())
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return file


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    chosen = arguments()
    try:
        figures = asyncio.run(prove(chosen.proofs or list(PROOFS), chosen))
    except (BenchError, TimeoutError) as error:
        print(f"chaos: {error or 'ran out of time'}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else WIDTH).print(as_table(figures))
    print(f"{save(figures, chosen.results)}")
    return int(any(figure.verdict == "MISSED" for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
