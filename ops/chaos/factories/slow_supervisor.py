"""Supervisors for chaos runs: they work as long as each message says, and count their session's runs in its document.

The content of a message is a list of words. `sleep=MS` is work, spread over `think=N` events, or all of it before one
of the events (`hold=0`: before the first, 1: before the next, ...). `spin=MS` keeps the whole worker busy, so that it
answers nobody. `gate=N` works until somebody opens gate N, in the place of the other work. Other words are for whoever
reads the history.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

PIDS = "CHAOS_PIDS"
"""Folder of the files `PATH-PID` (a worker), `at-gate-N-USER` (a user at a gate), and of those that open gates."""
GATE_POLL_S = 0.01
RERUN_SAFE = "-safe"
"""A user whose id ends like this has a supervisor whose messages may be run again."""


class Slow:
    """One session's supervisor."""

    def __init__(self, user_id: str, path: str) -> None:
        self._user_id = user_id
        self._path = path
        self._runs = 0
        self.rerun_safe = user_id.endswith(RERUN_SAFE)

    async def run(self, message: Any) -> AsyncIterator[dict[str, Any]]:
        """Work, then answer with the number of this run and the path."""
        asked = _words(message.content)
        thoughts = asked.get("think", 0)
        spin_until = time.monotonic() + asked.get("spin", 0) / 1000
        while time.monotonic() < spin_until:
            pass
        for number in range(thoughts + 1):
            await self._work(asked, number)
            yield {"type": "agent_thinking" if number else "agent_started", "payload": {"path": self._path}}
        await self._work(asked, thoughts + 1)
        self._runs += 1
        answer = json.dumps({"runs": self._runs, "path": self._path})
        yield {"type": "agent_completed", "payload": {"content": answer}}

    async def _work(self, asked: dict[str, int], number: int) -> None:
        """What is to be done before event `number`."""
        gate = asked.get("gate")
        if gate is not None and number == asked.get("hold", asked.get("think", 0) + 1):
            folder = Path(os.environ[PIDS])
            (folder / f"at-gate-{gate}-{self._user_id}").touch()
            while not (folder / f"gate-{gate}").exists():  # noqa: ASYNC110 - opened by another process
                await asyncio.sleep(GATE_POLL_S)
            return  # at once: a worker that stood still says its event before it hears that it was cancelled
        await asyncio.sleep(_pause_s(asked, number))

    def export_state(self) -> dict[str, object]:
        """This path's part of the document; `common` in the document counts the runs too, and decides."""
        return {"runs": self._runs}

    def restore_state(self, state: dict[str, Any], document: dict[str, Any]) -> None:
        """Continue where either path stopped."""
        self._runs = document["common"]["runs"]


def create_v2(context: Any) -> Slow:
    """For `CROSSFADE_PATHS_V2`."""
    return _create(context, "v2")


def create_v3(context: Any) -> Slow:
    """For `CROSSFADE_PATHS_V3`."""
    return _create(context, "v3")


def create_v3_again(context: Any) -> Slow:
    """Another build of v3, for `load v3`."""
    return _create(context, "v3")


def _create(context: Any, path: str) -> Slow:
    folder = os.environ.get(PIDS)
    if folder:
        Path(folder, f"{path}-{os.getpid()}").touch()
    return Slow(context.user_id, path)


def _words(content: str) -> dict[str, int]:
    pairs = (word.partition("=") for word in content.split())
    return {name: int(value) for name, _, value in pairs if value.isdigit()}


def _pause_s(asked: dict[str, int], number: int) -> float:
    """Seconds of work before event `number`; event 0 is the start."""
    work_s, hold = asked.get("sleep", 0) / 1000, asked.get("hold")
    if hold is not None:
        return work_s if number == hold else 0.0
    return work_s / (asked.get("think", 0) + 1) if number else 0.0
