"""The data folder of a service on this host: it has one owner, and is never made again while the service runs.

The owner is whoever holds the lock of the file `owner`, which the kernel takes back when the last process that has it
open is gone. A folder that was removed or replaced meanwhile is noticed, because what is written there is lost.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.disk import Disk
from app.errors import FolderTaken

OWNER = "owner"
OPERATOR_TOKEN = "operator.token"  # noqa: S105 - a file's name
OURS = (OWNER, "control.db", "secret", "rollback.lock", "rollback.spare")
"""Files by which a folder is known to be a service's."""
PRIVATE = ("control.db", "control.db-wal", "control.db-shm", "sessions.db", "sessions.db-wal", "sessions.db-shm",
           "secret", OPERATOR_TOKEN, "rollback.lock", "rollback.spare", OWNER)  # fmt: skip
"""Files that nobody but the service's account may read, whoever made them."""
ENDS_S = 5.0
"""How long the processes of an owner that was killed may take to be gone."""
LOOK_S = 0.05
ANSWER_S = 1.0


class FolderLost(OSError):
    """The data folder is gone, or another one lies in its place: what was written there is lost."""

    def __init__(self, words: str) -> None:
        super().__init__(errno.ESTALE, words)
        self.words = words


class _Owner(msgspec.Struct, frozen=True):
    """What the file `owner` says, for the words of a refusal."""

    pid: int
    since: float
    """Unix seconds."""
    address: str


class DataFolder:
    """A folder and what makes it this one: its inode, and that of the file `owner` if this process has that open."""

    def __init__(self, path: Path, owner: int | None = None) -> None:
        """`owner`: descriptor of the file `owner`; None: nobody owns it, as for tools. Raises `FolderLost`."""
        self.path = path
        self.owner = owner
        self._descriptor = None if owner is None else os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def verify(self) -> None:
        """Make sure that what is written here is found again. Blocks as long as the disk. Raises `FolderLost`."""
        found = _inode(self.path, f"the data folder {self.path} is gone")
        if self._descriptor is None or self.owner is None:
            return
        if found != _identity(os.fstat(self._descriptor)):
            raise FolderLost(f"another folder lies in the place of the data folder {self.path}")
        owner = _inode(self.path / OWNER, f"the data folder {self.path} was emptied")
        if owner != _identity(os.fstat(self.owner)):
            raise FolderLost(f"the data folder {self.path} was taken over by another service")

    def close(self) -> None:
        """Give it up: another service may own it."""
        for descriptor in (self._descriptor, self.owner):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self.owner = None


class FolderWatch:
    """Asks the disk, from the event loop, whether a data folder is still the one it was."""

    def __init__(self, folder: DataFolder) -> None:
        self.path = folder.path
        self.lost = ""
        """Why nothing can be kept there, in words; empty: it is there, as far as is known."""
        self._folder = folder
        self._disk = Disk("data-folder", ANSWER_S)

    async def check(self) -> None:
        """Raises `FolderLost`, or `TimeoutError` (an `OSError` too) when the disk does not answer within a second."""
        try:
            await self._disk.call(self._folder.verify)
        except FolderLost as error:
            self.lost = error.words
            raise
        self.lost = ""


def take_folder(path: Path, address: str) -> DataFolder:
    """Make the folder if there is none, and own it until this process and all that inherit the descriptor are gone.

    `address` is where the service listens. Raises `FolderTaken`, which says whose it is, and `OSError`.
    """
    make_folder(path)
    end = time.monotonic() + ENDS_S
    while True:
        descriptor = os.open(path / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(descriptor)
            os.close(descriptor)
            if time.monotonic() > end or (owner is not None and _lives(owner.pid)):
                raise FolderTaken(_whose(path, owner)) from None
            time.sleep(LOOK_S)
            continue
        if _inode(path / OWNER, "") == _identity(os.fstat(descriptor)):
            break
        os.close(descriptor)  # the file was replaced between the two calls
    _write_owner(descriptor, _Owner(os.getpid(), time.time(), address))
    make_private(path)
    return DataFolder(path, descriptor)


def make_folder(path: Path) -> None:
    """Make the folder, for this account only, if there is none. To be called at a start, never later."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_private(path: Path) -> None:
    """Close a service's folder and files to other accounts, as far as they are this account's; raises nothing."""
    for name in PRIVATE:
        _restrict(path / name, 0o600)
    if any((path / name).exists() for name in OURS):
        _restrict(path, 0o700)


def _restrict(path: Path, mode: int) -> None:
    """Take rights away, give none. A folder like /tmp, which all may write to, is left as it is."""
    try:
        found = path.stat()
        now = stat.S_IMODE(found.st_mode)
        if found.st_uid == os.geteuid() and now & ~mode and not now & stat.S_ISVTX:
            path.chmod(now & mode)
    except OSError:
        return


def _inode(path: Path, gone: str) -> tuple[int, int]:
    try:
        return _identity(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        raise FolderLost(gone) from None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _write_owner(descriptor: int, owner: _Owner) -> None:
    """In place, because a full disk has no room for another file; without room it is the kernel's lock that counts."""
    text = msgspec.json.encode(owner)
    try:
        os.pwrite(descriptor, text.ljust(os.fstat(descriptor).st_size), 0)
    except OSError:
        return


def _read_owner(descriptor: int) -> _Owner | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=_Owner)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OSError):
        return None


def _lives(pid: int) -> bool:
    """Whether there is a process of this number; one that has ended, and whose parent has not asked yet, is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def _whose(path: Path, owner: _Owner | None) -> str:
    rest = "stop that one, or give this one a folder of its own with CROSSFADE_DATA"
    if owner is None:
        return f"the data folder {path} belongs to another service; {rest}"
    since = datetime.fromtimestamp(owner.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"the data folder {path} belongs to the service at {owner.address}, process {owner.pid}, since {since}; {rest}"
    )
