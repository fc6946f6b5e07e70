"""Closes supervisors whose session is over, a few at a time, none of them for ever."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from app.supervisor.contract import SessionSupervisor

AT_ONCE = 16
CLOSE_S = 5.0
BREATH = 256
"""Closes that wait for nothing share a turn of the loop up to this number."""

_log = logging.getLogger("crossfade.worker")


class ClosingSupervisors:
    """The supervisors still to be closed. Ten thousand sessions may end in one turn: no task for each."""

    def __init__(self) -> None:
        self._waiting: deque[SessionSupervisor] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, supervisor: SessionSupervisor | None) -> None:
        """Close it soon; None (a session that never had one) is fine."""
        if supervisor is None:
            return
        self._waiting.append(supervisor)
        if len(self._tasks) < min(AT_ONCE, len(self._waiting)):
            task = asyncio.get_running_loop().create_task(self._close_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finished(self) -> None:
        """Wait until all that were added are closed."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _close_all(self) -> None:
        count = 0
        while self._waiting:
            await _close(self._waiting.popleft())
            count += 1
            if count % BREATH == 0:
                await asyncio.sleep(0)


async def _close(supervisor: SessionSupervisor) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await supervisor.close()
    except (Exception, asyncio.CancelledError) as error:  # one that cancels itself must not leave the others open
        _log.warning("supervisor not closed", exc_info=error)
