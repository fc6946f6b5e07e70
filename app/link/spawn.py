"""Starts a process of ours that gets its configuration and its end of a link by an inherited socket.

Signals that end a process wait from its first moment until it says what it does with them, so that none kills it while
it is still starting.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from app.errors import HostShortage
from app.link.preamble import send_config

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that people and service managers send to whole groups of processes; their default is to end each of them."""
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})
"""What the kernel says when it has no descriptor, memory or process left for us; see fork(2) and socketpair(2)."""


def spawn(
    config: msgspec.Struct,
    command: Callable[[int], Sequence[str]],
    *,
    buffer_bytes: int,
    inherit: Sequence[int] = (),
    stdout: int | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The process, and our end of its link. `command` is given the descriptor of the other end.

    It leads a process group of its own: Ctrl-C in a terminal is for whoever started it, and ends it in order. Call it
    in the main thread. Raises `HostShortage`, and `OSError` when the program cannot be executed.
    """
    with _shortages_named():
        ours, theirs = socket.socketpair()
    with theirs:
        try:
            for end in (ours, theirs):
                for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                    with contextlib.suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
            with _shortages_named(), _signals_blocked():
                send_config(ours, config)
                process = subprocess.Popen(
                    command(theirs.fileno()),
                    pass_fds=[theirs.fileno(), *inherit],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    env=env,
                    process_group=0,
                )
        except BaseException:
            ours.close()
            raise
    return process, ours


def let_signals_pass() -> None:
    """In a process that `spawn` started: what was sent meanwhile arrives now; its handlers have to be there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def outlive_signals() -> None:
    """Do nothing at a signal that ends a process; whoever started this one ends it.

    By handlers that do nothing, because ignored signals would stay ignored in the programs that people's code starts.
    """
    for number in ENDING:
        signal.signal(number, _do_nothing)
    let_signals_pass()


@contextlib.contextmanager
def _shortages_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise
        raise HostShortage(f"this machine cannot start a process: {error.strerror}") from None


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _do_nothing(number: int, frame: object) -> None:
    return
