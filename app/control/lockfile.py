"""The rollback lock on this host's disk: written through before anything else happens, found again after any crash.

It is the only thing that a rollback needs besides the cell itself. Its place on the disk is taken at the start, so that
a lock can be made, and lifted, on a disk that is full.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from app.data_folder import DataFolder
from rollout.state import Lock

NAME = "rollback.lock"
SPARE = "rollback.spare"
NEW = "rollback.new"
PLACE_BYTES = 4096
"""Size of both files: a block of nearly every file system."""
FILLING = b"place for the rollback lock\n"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
UNKNOWN = -1
"""Generation of a lock that was made before the record was read: in force until it is lifted."""


class LockFile:
    """The lock file in the data folder; all calls block until the disk has it. They raise `OSError`."""

    def __init__(self, folder: Path | DataFolder) -> None:
        self._folder = folder if isinstance(folder, DataFolder) else DataFolder(folder)
        self.path = self._folder.path / NAME
        self._spare = self.path.with_name(SPARE)

    def reserve(self) -> None:
        """Take the place that the next lock needs, unless it is taken already."""
        with self._alone() as folder:
            if _size(self._spare) < PLACE_BYTES:
                self._make((FILLING * PLACE_BYTES)[:PLACE_BYTES]).replace(self._spare)
                os.fsync(folder)

    def write(self, lock: Lock) -> None:
        """Write the lock, or replace the one there is, in one step: after a crash it is there whole or not at all.

        On a full disk, and without a spare, a lock that is there already is overwritten; torn, it is a lock all the
        same. A reason that is too long for `PLACE_BYTES` is cut, see `fitting`.
        """
        data = msgspec.json.encode(fitting(lock)).ljust(PLACE_BYTES)
        with self._alone() as folder:
            written = self._put(data)
            if written != self.path:
                written.replace(self.path)
            os.fsync(folder)
            self._folder.verify()

    def read(self) -> Lock | None:
        """The lock in force, or None. One that cannot be read is a lock all the same."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(data, type=Lock)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            since = self.path.stat().st_mtime
            return Lock(0, UNKNOWN, since, "unknown", True, f"a lock was found in {NAME} that cannot be read")

    def look(self) -> Lock | None:
        """As `read`, but a folder that is gone is no folder without a lock: raises `FolderLost`."""
        self._folder.verify()
        return self.read()

    def stamp(self) -> tuple[int, int] | None:
        """Changes with every lock that is written, and takes microseconds to read; None: there is no lock."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def lift(self, generation: int, known: Collection[Lock]) -> None:
        """Remove the lock, unless another cell of this host has made a new one meanwhile.

        `generation` is the record's: a lock of that generation stays, and so does one of `UNKNOWN` generation, except
        those that are `known` to have been lifted.
        """
        if self.stamp() is None:
            return
        with self._alone():
            lock = self.read()
            if lock is None or lock in known or UNKNOWN < lock.generation < generation:
                self.remove()

    def remove(self) -> None:
        """Remove the lock, if there is one. Its place on the disk is kept for the next."""
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(self._spare)
            folder = self._open_folder()
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _put(self, data: bytes) -> Path:
        """Write it through to the spare, else to a new file, else over the lock there is; returns which."""
        if _size(self._spare) >= 0:
            _overwrite(self._spare, data)
            return self._spare
        try:
            return self._make(data)
        except OSError as error:
            if error.errno not in NO_SPACE or _size(self.path) < 0:
                raise
            _overwrite(self.path, data)
            return self.path

    def _make(self, data: bytes) -> Path:
        new = self.path.with_name(NEW)
        try:
            _overwrite(new, data, os.O_CREAT | os.O_TRUNC)
        except OSError:
            new.unlink(missing_ok=True)  # a piece of it would keep the place from the next attempt
            raise
        return new

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """Keep the other cells of this host from changing the file meanwhile; yields the folder's descriptor."""
        self._folder.verify()
        folder = self._open_folder()
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        return os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)


def fitting(lock: Lock) -> Lock:
    """The lock as its file has it: with a reason that fits in `PLACE_BYTES`."""
    over = len(msgspec.json.encode(lock)) - PLACE_BYTES
    while over > 0:
        # A character takes six bytes at most, so this many are too many in any case.
        lock = replace(lock, reason=lock.reason[: -(over // 6 + 1)])
        over = len(msgspec.json.encode(lock)) - PLACE_BYTES
    return lock


def _size(path: Path) -> int:
    """In bytes; -1: there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _overwrite(path: Path, data: bytes, flags: int = 0) -> None:
    """Replace what the file has, in the place that it takes already, and wait until the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
