"""Calls back when a process has ended, in any event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable


def watch_exit(process: subprocess.Popen[bytes], on_exit: Callable[[int], None]) -> None:
    """Call `on_exit(status)` in the running event loop once the process has ended and was waited for.

    It watches the process's descriptor, because asyncio's child watchers differ in uvloop; without one, a thread waits.
    Raises `RuntimeError` when there is neither.
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

    try:
        loop.add_reader(descriptor, readable)
    except BaseException:
        os.close(descriptor)
        raise
