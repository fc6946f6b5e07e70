"""The rollback lock on this host's disk: written through before anything else happens, found again after any crash.

It is the one thing a rollback needs besides the cell itself; it must not know of the store.
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
"""Generation of a lock that was made before the record had been read: in force until it is lifted."""


class LockFile:
    """The lock file in the data folder; all calls block until the disk has it. They raise `OSError`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def write(self, lock: Lock) -> None:
        """Put the lock in force, or replace the one there is, in one step that a crash cannot halve."""
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
        """What changes with every lock that is written: microseconds to look at; None: there is no lock."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def lift(self, generation: int, known: Lock | None) -> None:
        """Remove it, unless another cell of this host has made a new one meanwhile.

        `generation` is the record's now: a lock of that generation is in force, and so is one whose generation is open,
        but for the `known` one that was lifted.
        """
        if self.stamp() is None:
            return
        with self._alone():
            found = self.read()
            if found is None or found == known or UNKNOWN < found.generation < generation:
                self.remove()

    def remove(self) -> None:
        """Lift it; nothing happens when there is none."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
            folder = self._open_folder()
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """No other cell of this host changes the file meanwhile; gives the folder's descriptor."""
        folder = self._open_folder()
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        return os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
