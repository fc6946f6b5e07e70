"""The rollback lock on this host's disk, used from the event loop: in a thread of its own, with a limit on every call.

A disk that fails or hangs is logged and tried again every second; it delays neither the loop nor another rollback.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from time import time
from typing import NamedTuple

import structlog

from app.control.lockfile import NO_SPACE, UNKNOWN, LockFile, fitting
from app.data_folder import FolderLost
from app.disk import Disk
from rollout.state import Lock

LIMIT_S = 1.0
START_S = 5.0
"""At the start a disk may take longer; one that still does not answer counts as a lock."""
REMEMBERED = 100
"""Locks that a process remembers having made; the disk has one at a time."""
log = structlog.get_logger()


class Wanted(NamedTuple):
    """What the disk should say."""

    lock: Lock | None
    generation: int
    """The record's."""
    heard: bool = False
    """Another cell has made the lock, and may know its generation better."""


class HostLock:
    """The lock file of this cell's host. Other cells of the host write it as well."""

    def __init__(self, file: LockFile, limit_s: float = LIMIT_S) -> None:
        self.turn = asyncio.Lock()
        """Held around every change of the file, and by a rollback until its view is in force."""
        self.trouble = ""
        """Why the disk does not say what is in force, in words; empty: it does, or was not asked yet."""
        self.unreserved = "not asked for yet"
        """Why no place is kept on the disk for the next lock, in words; empty: one is."""
        self._file = file
        self._disk = Disk("rollback-lock", limit_s)
        self._written: Lock | None = None
        self._settled = True
        """Whether the disk is known to say what is in force."""
        self._made: dict[Lock, None] = {}
        """Locks that this process put there, is putting there now, or found there: it knows of them. The oldest first.
        """
        self._stamp: tuple[int, int] | None = None

    @property
    def answered(self) -> asyncio.Event:
        """Set when a call that took too long is over after all, and `settle` has to see what it did."""
        return self._disk.answered

    async def find(self) -> Lock | None:
        """The lock that an earlier process left. A disk that does not answer may hold one, so it counts as a lock."""
        try:
            self._written = await self._disk.call(self._file.read, limit_s=START_S)
        except OSError as error:
            log.error("the rollback lock cannot be read; everyone is served by v2", error=str(error))
            return Lock(0, UNKNOWN, time(), "unknown", True, f"the disk of the rollback lock does not answer: {error}")
        if self._written is not None:
            self._know(self._written)
        return self._written

    async def reserve(self) -> None:
        """Take the place on the disk that the next lock needs, unless it is taken. Raises nothing."""
        try:
            await self._disk.call(self._file.reserve)
        except OSError as error:
            words = words_of(error)
            if words != self.unreserved:
                log.error("no place can be kept on the disk for a rollback's lock", error=words)
            self.unreserved = words
        else:
            self.unreserved = ""

    async def write(self, lock: Lock) -> None:
        """Write the lock to the disk; the caller holds `turn`. Raises nothing: `settle` tries again what failed."""
        self._know(lock)
        try:
            await self._disk.call(self._file.write, lock)
        except OSError as error:
            self._failed("the rollback lock is not on the disk", error)
        else:
            self._holds(lock)

    async def settle(self, current: Callable[[], Wanted]) -> None:
        """Look what the file says, and make it say what is in force: written again, replaced, or removed.

        Raises nothing. `current` is asked when the turn has come: whoever had it before may have been a rollback, whose
        lock stays. What a call did that came back late is found here too.
        """
        async with self.turn:
            lock, generation, heard = current()
            try:
                found = await self._disk.call(self._file.look)
                if lock is None:
                    if found is not None:
                        await self._disk.call(self._file.lift, generation, tuple(self._made))
                    self._holds(None)
                elif found is not None and _same(found, lock, heard):
                    self._know(found)
                    self._holds(lock)  # another cell of this host may have been faster
            except OSError as error:
                self._failed("the rollback lock cannot be brought in line with what is in force", error)
                return
            if lock is not None and (found is None or lock != self._written):
                await self.write(lock)

    def agrees(self, lock: Lock | None) -> bool:
        """Whether the disk is known to say what is in force."""
        return self._settled and (lock is None or lock == self._written)

    def of_others(self) -> Lock | None:
        """A lock on the disk that this process has neither written nor returned yet. Raises nothing, in microseconds.

        While the disk hangs it is not asked, and the answer is None.
        """
        if self._disk.hangs:
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

    def _know(self, lock: Lock) -> None:
        self._made[fitting(lock)] = None
        while len(self._made) > REMEMBERED:
            del self._made[next(iter(self._made))]

    def _holds(self, lock: Lock | None) -> None:
        if self.trouble:
            log.info("the disk of the rollback lock works again")
        self._written, self._settled, self.trouble = lock, True, ""

    def _failed(self, what: str, error: OSError) -> None:
        words = words_of(error)
        if words != self.trouble:
            log.error(what, error=str(error))
        self._written, self._settled, self.trouble = None, False, words


def _same(found: Lock, lock: Lock, heard: bool) -> bool:
    lock = fitting(lock)
    return found == (replace(lock, generation=found.generation) if heard else lock)


def words_of(error: OSError) -> str:
    """Why a disk does not keep what it is given, for a person."""
    if isinstance(error, FolderLost):
        return error.words
    if isinstance(error, TimeoutError):
        return "the disk does not answer"
    if error.errno in NO_SPACE:
        return "no space"
    if error.errno == errno.EROFS:
        return "the file system is read-only"
    return (error.strerror or str(error) or type(error).__name__).lower()
