"""A cell's Unix socket in the data folder, for the commands of this host: they reach it when TCP is full or far away.

It is not for clients, and not a credential: a command sends its token there as well.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = "run"
SUFFIX = ".sock"
LONGEST_BYTES = 100
"""A path of a socket that every system takes; Linux takes 107 bytes, see unix(7)."""
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PROBE_S = 1.0


class LocalSocket:
    """One cell's socket: `<data>/run/<letter>.sock`, mode 0600, in a folder of mode 0700."""

    def __init__(self, data: Path, cell: str) -> None:
        """`cell`: its name, such as `a` or `a@host:8000`. What a killed service left there is replaced.

        Raises `OSError`: the folder is not ours, cannot be written, or its path is too long for this system.
        """
        self._file = run_folder(data) / f"{cell.partition('@')[0]}{SUFFIX}"
        _private_folder(self._file.parent)
        self._file.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address_of(self._file) as address:
                self.listener.bind(address)
            self._file.chmod(0o600)
            self._number = self._file.stat().st_ino
        except BaseException:
            self.listener.close()
            raise
        self.listener.setblocking(False)

    def close(self) -> None:
        """Remove it, unless another process has replaced it."""
        self.listener.close()
        with contextlib.suppress(OSError):
            if self._file.stat().st_ino == self._number:
                self._file.unlink()


def run_folder(data: Path) -> Path:
    """The folder of the sockets."""
    return data.absolute() / FOLDER


@contextlib.contextmanager
def address_of(file: Path) -> Iterator[str]:
    """The address of a socket, to bind or connect to within the block, also where its path is too long for one.

    Then it leads through a descriptor of its folder, which only Linux has. Raises `OSError`.
    """
    if len(os.fsencode(file)) <= LONGEST_BYTES:
        yield str(file)
        return
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)


def answering_socket(data: Path, within_s: float = PROBE_S) -> Path | None:
    """The socket of the cell that answers first; None: there is none that does, or that this user may use.

    All are asked at once, because one may belong to a cell that hangs.
    """
    try:
        files = sorted(file for file in run_folder(data).iterdir() if file.suffix == SUFFIX)
    except OSError:
        return None
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for file in files:
            asked = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            asked.setblocking(False)
            with contextlib.suppress(OSError), address_of(file) as address:
                asked.connect(address)
                asked.send(PROBE)
                selector.register(asked, selectors.EVENT_READ, file)
        return _first_to_answer(selector, time.monotonic() + within_s)


def _first_to_answer(selector: selectors.BaseSelector, end: float) -> Path | None:
    while selector.get_map() and (left_s := end - time.monotonic()) > 0:
        for key, _ in selector.select(left_s):
            answered: socket.socket = key.fileobj  # type: ignore[assignment]
            selector.unregister(answered)
            with contextlib.suppress(OSError):
                if answered.recv(64).startswith(b"HTTP/1.1 200"):
                    file: Path = key.data
                    return file
    return None


def _private_folder(folder: Path) -> None:
    """Make it for this user alone. Raises `OSError` when it is a link or somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(1, "not a folder of this user", str(folder))
    folder.chmod(0o700)
