"""The end of a process: being told of it in any event loop, and saying in words what it was.

It must not know what the process was for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable

from app.paths.ports import Death

_CRASH_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


def watch_exit(process: subprocess.Popen[bytes], on_exit: Callable[[int], None]) -> None:
    """Call `on_exit(status)` in the running event loop once the process has ended and was waited for.

    By the process's descriptor, because asyncio's child watchers are not the same in uvloop; else by a thread.
    """
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):

        def wait() -> None:
            loop.call_soon_threadsafe(on_exit, process.wait())

        threading.Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()
        return

    def readable() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        on_exit(process.wait())

    loop.add_reader(descriptor, readable)


def explain(status: int) -> Death:
    """A death that was not ours, from the exit status as `subprocess` gives it."""
    if status >= 0:
        return Death("crashed", f"ended by itself with status {status}")
    number = -status
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return Death("crashed" if number in _CRASH_SIGNALS else "killed", f"ended by {name}")
