"""The rollback lock on this host's disk, used from the event loop: in a thread of its own, with a limit on every call.

A disk that fails or hangs is logged and tried again every second; it delays neither the loop nor another rollback.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from time import time
from typing import Any, TypeVar

import structlog

from app.control.lockfile import UNKNOWN, LockFile
from rollout.state import Lock

LIMIT_S = 1.0
START_S = 5.0
"""At the start a disk may take longer; one that still does not answer counts as a lock."""
Result = TypeVar("Result")
log = structlog.get_logger()


class HostLock:
    """The lock file of this cell's host. Other cells of the host write it as well."""

    def __init__(self, file: LockFile, limit_s: float = LIMIT_S) -> None:
        self.turn = asyncio.Lock()
        """Held around every change of the file, and by a rollback until its view is in force."""
        self._file = file
        self._limit_s = limit_s
        self._thread = _DiskThread()
        self._overdue: asyncio.Future[Any] | None = None
        self._written: Lock | None = None
        self._settled = True
        """Whether the disk is known to say what is in force."""
        self._made: set[Lock] = set()
        """Locks that this process put there, is putting there now, or found at its start: it knows of them."""
        self._stamp: tuple[int, int] | None = None

    async def find(self) -> Lock | None:
        """The lock that an earlier process left. A disk that does not answer may hold one, so it counts as a lock."""
        try:
            self._written = await self._call(self._file.read, limit_s=START_S)
        except OSError as error:
            log.error("the rollback lock cannot be read; everyone is served by v2", error=str(error))
            return Lock(0, UNKNOWN, time(), "unknown", True, f"the disk of the rollback lock does not answer: {error}")
        if self._written is not None:
            self._made.add(self._written)
        return self._written

    async def write(self, lock: Lock) -> None:
        """Write the lock to the disk; the caller holds `turn`. Raises nothing: `settle` tries again what failed."""
        self._made.add(lock)
        try:
            await self._call(self._file.write, lock)
        except OSError as error:
            log.error("the rollback lock is not on the disk", error=str(error))
            self._written, self._settled = None, False
        else:
            self._written, self._settled = lock, True

    async def settle(self, current: Callable[[], tuple[Lock | None, int]]) -> None:
        """Make the file say what is in force: written again, replaced, or removed. Raises nothing.

        `current` gives the lock and the record's generation. It is asked when the turn has come: whoever had it before
        may have been a rollback, whose lock stays.
        """
        async with self.turn:
            lock, generation = current()
            try:
                if lock is None:
                    await self._call(self._file.lift, generation, self._written)
                    self._written, self._settled = None, True
                elif lock != self._written and lock == await self._call(self._file.read):
                    self._written, self._settled = lock, True  # another cell of this host was faster
            except OSError as error:
                self._settled = False
                log.error("the rollback lock cannot be brought in line with what is in force", error=str(error))
            if lock is not None and lock != self._written:
                await self.write(lock)

    def agrees(self, lock: Lock | None) -> bool:
        """Whether the disk is known to say what is in force."""
        return self._settled and (lock is None or lock == self._written)

    def of_others(self) -> Lock | None:
        """A lock on the disk that this process has neither written nor returned yet. Raises nothing, in microseconds.

        While the disk hangs it is not asked, and the answer is None.
        """
        if self._hangs():
            return None
        try:
            stamp = self._file.stamp()
            if stamp is None or stamp == self._stamp:
                return None
            lock = self._file.read()
        except OSError as error:
            log.error("the rollback lock cannot be read", error=str(error))
            return None
        self._stamp = stamp
        return None if lock in self._made else lock

    def _hangs(self) -> bool:
        return self._overdue is not None and not self._overdue.done()

    async def _call(self, call: Callable[..., Result], *arguments: object, limit_s: float | None = None) -> Result:
        """Raises `OSError`, or `TimeoutError` (also an `OSError`) when the disk does not answer in time."""
        if self._hangs():
            raise TimeoutError("the disk has not answered an earlier call yet")
        limit_s = self._limit_s if limit_s is None else limit_s
        answer = asyncio.wrap_future(self._thread.submit(lambda: call(*arguments)))
        await asyncio.wait({answer}, timeout=limit_s)
        if not answer.done():
            self._overdue = answer
            answer.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise TimeoutError(f"the disk did not answer within {limit_s:g} s")
        return answer.result()


class _DiskThread:
    """One daemon thread: a disk that hangs for ever blocks no other thread, nor the end of the process."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[object], Callable[[], object]]] = SimpleQueue()
        self._started = False

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Call this in the thread, after what was submitted before."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="rollback-lock", daemon=True).start()
        future: Future[Result] = Future()
        self._calls.put((future, call))  # type: ignore[arg-type]  # the queue holds futures of every kind
        return future

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
