"""One run of the demo: its folder, its processes, the story, the report of the clients, the claims."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from pathlib import Path

from app.loadtest.options import LoadOptions
from ops.demo.claims import claims_of
from ops.demo.operating import Operator
from ops.demo.processes import DemoError, Running, crowd, service
from ops.demo.script import Script
from ops.demo.story import Story

HELD, BROKEN, INTERRUPTED = 0, 1, 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Treat it like Ctrl-C, so that the processes are ended first."""


class Narrator:
    """Prints lines, each with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


async def demo(script: Script) -> int:
    """Do the whole run; returns the exit code. Its processes are ended in any case. Raises `KeyboardInterrupt`."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, task.cancel)
    folder = Path(tempfile.mkdtemp(prefix="crossfade-demo-"))
    try:
        code = await _play(script, folder)
    except DemoError as error:
        print(f"crossfade demo: {error}\nLogs: {folder}", flush=True)
        return BROKEN
    except asyncio.CancelledError:
        shutil.rmtree(folder, ignore_errors=True)
        print("crossfade demo: stopped; the service and the clients were ended", flush=True)
        raise
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)
    if code == HELD:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"Logs: {folder}", flush=True)
    return code


async def _play(script: Script, folder: Path) -> int:
    narrator = Narrator()
    _announce(script)
    async with service(folder) as running:
        _where(running, folder)
        options = LoadOptions(
            url=f"{running.url.replace('http', 'ws', 1)}/ws", clients=script.clients, seconds=script.talk_s
        )
        operator = Operator(running)
        try:
            async with crowd(folder, running, options, script.seed) as clients:
                seen = await Story(script, operator, clients, narrator.say).tell()
                report = await clients.report()
        finally:
            await operator.close()
    print(f"\nWhat the {script.clients} clients saw:\n{report.words()}\n\nWhat was promised:")
    claims = claims_of(seen, report, fault=script.fault == "crash")
    print("\n".join(claim.line() for claim in claims), flush=True)
    return HELD if report.passed and all(claim.held for claim in claims) else BROKEN


def _announce(script: Script) -> None:
    if script.fault == "none":
        minutes = script.talk_s / 60
        words = f"Crossfade demo: nothing goes wrong for {minutes:.1f} minutes, and so nothing may be rolled back."
    else:
        words = (
            f"Crossfade demo: {script.clients} users are connected; a bad release of v3 reaches a tenth of them.\n"
            "What rolls back by itself today is the guardrail `crashes`: two deaths of v3's worker in ten minutes.\n"
            f"Seed {script.seed}: `SEED={script.seed} make demo` chooses the same moment again."
        )
    print(f"{words}\nIt takes about {script.talk_s + 10:.0f} s. Ctrl-C ends it.\n", flush=True)


def _where(running: Running, folder: Path) -> None:
    """The address to look at meanwhile."""
    bind = running.url.removeprefix("http://")
    print(
        f"Watch it:  {running.link}\n"
        f"Or ask it: CROSSFADE_BIND={bind} CROSSFADE_DATA={folder}/data .venv/bin/crossfade status --watch\n",
        flush=True,
    )
