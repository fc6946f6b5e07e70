"""What is observed of v3 in a cell: who was admitted last, who is there, what its workers hold. A rollback is verified
by it, never by what was ordered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from app.gateway.ports import PathWorker
from app.gateway.session import Session
from app.gateway.sweep import RunningSweep, SweepReport

BARRIER_TIMEOUT_S = 1.0
BARRIER_AGAIN_S = 0.02
"""A worker that still holds sessions, or does not answer, is asked again after this."""


class CanaryWatch:
    """One for the cell, which tells it of admissions, of workers, and whenever a session may have left v3."""

    def __init__(self, sessions: Collection[Session]) -> None:
        """`sessions`: those on v3 now, kept up to date by their index."""
        self._sessions = sessions
        self._workers: set[PathWorker] = set()
        """All that live, also one that is being replaced."""
        self._last_admission_at = 0.0
        self._changed = asyncio.Event()

    def admitted(self, now: float) -> None:
        """A session was bound, or a message over HTTP dispatched, to v3; `now` in monotonic seconds."""
        self._last_admission_at = now

    def worker_up(self, worker: PathWorker) -> None:
        self._workers.add(worker)

    def worker_gone(self, worker: PathWorker) -> None:
        self._workers.discard(worker)

    def note(self) -> None:
        """A session may have left, or another sweep has overtaken the one that is verified."""
        self._changed.set()

    async def verify(self, sweep: RunningSweep) -> SweepReport:
        """Wait for what a rollback promises, seen: no session on v3, none admitted, and its workers say zero.

        The report says that nothing is verified when the sweep was overtaken before.
        """
        while not sweep.overtaken:
            self._changed.clear()
            if self._sessions or sweep.waiting:
                await self._changed.wait()
            elif not await self._workers_empty():
                await asyncio.sleep(BARRIER_AGAIN_S)
            elif not (self._sessions or sweep.overtaken):
                return sweep.report(last_admission_at=self._last_admission_at, verified=True)
        return sweep.report(last_admission_at=self._last_admission_at, verified=False)

    async def _workers_empty(self) -> bool:
        """Every living worker was asked just now and holds nothing; a dead one holds nothing either."""
        for worker in list(self._workers):
            try:
                if await worker.barrier(BARRIER_TIMEOUT_S) != 0:
                    return False
            except (TimeoutError, ConnectionError):
                if worker in self._workers:
                    return False
        return True
