"""The rollback lock on this host's disk: written through before anything else happens, found again after any crash.

It is the only thing that a rollback needs besides the cell itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rollout.state import Lock

NAME = "rollback.lock"
UNKNOWN = -1
"""Generation of a lock that was made before the record was read: in force until it is lifted."""


class LockFile:
    """The lock file in the data folder; all calls block until the disk has it. They raise `OSError`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def write(self, lock: Lock) -> None:
        """Write the lock, or replace the one there is, in one step: after a crash it is there whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone() as folder:
            new = self.path.with_suffix(".new")
            with new.open("wb") as file:
                file.write(msgspec.json.encode(lock))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            os.fsync(folder)

    def read(self) -> Lock | None:
        """The lock in force, or None. One that cannot be read is a lock all the same."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(data, type=Lock)
        except msgspec.MsgspecError:
            since = self.path.stat().st_mtime
            return Lock(0, UNKNOWN, since, "unknown", True, f"a lock was found in {NAME} that cannot be read")

    def stamp(self) -> tuple[int, int] | None:
        """Changes with every lock that is written, and takes microseconds to read; None: there is no lock."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def lift(self, generation: int, known: Lock | None) -> None:
        """Remove the lock, unless another cell of this host has made a new one meanwhile.

        `generation` is the record's: a lock of that generation stays, and so does one of `UNKNOWN` generation, except
        `known`, the one that was lifted.
        """
        if self.stamp() is None:
            return
        with self._alone():
            lock = self.read()
            if lock is None or lock == known or UNKNOWN < lock.generation < generation:
                self.remove()

    def remove(self) -> None:
        """Remove the lock, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
            folder = self._open_folder()
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """Keep the other cells of this host from changing the file meanwhile; yields the folder's descriptor."""
        folder = self._open_folder()
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        return os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
