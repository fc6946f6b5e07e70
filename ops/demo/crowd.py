"""The demo's clients, in a process of their own: one load test, with progress and report as JSON lines.

Run as `python -m ops.demo.crowd`; the options are one JSON line on standard input.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys

import msgspec
from msgspec import Struct

from app.loadtest.options import LoadOptions
from app.loadtest.report import LoadReport
from app.loadtest.run import LoadTest, Progress
from app.loadtest.share import ask_share


class Asked(Struct, frozen=True, kw_only=True):
    """The options that the parent sends."""

    options: LoadOptions
    seed: int
    url: str
    token: str
    """Token for the API, which is asked at the end who is on v3."""


class Line(Struct, frozen=True, omit_defaults=True):
    """What it prints: the progress every second, and the report once at the end."""

    progress: Progress | None = None
    report: LoadReport | None = None


def say(line: Line) -> None:
    """Print one line."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def run(asked: Asked) -> None:
    """The whole load test."""
    test = LoadTest(asked.options, lambda progress: say(Line(progress=progress)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, test.stop)
    say(Line(report=await test.run(lambda options: ask_share(asked.url, asked.token, options))))


if __name__ == "__main__":
    what = msgspec.json.decode(sys.stdin.buffer.readline(), type=Asked)
    random.seed(what.seed)
    asyncio.run(run(what))
