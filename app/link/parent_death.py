"""Ends a worker when its gateway is gone, whatever the worker is doing and however the gateway ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

WATCH_S = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent_pid: int) -> bool:
    """Make this process end with that parent; returns False if it has another parent already.

    There are three ways: the kernel's signal, which also reaches a stopped process and one in a busy loop; a thread
    that sees the parent change, for systems without that signal; and, elsewhere, the end of the link.
    """
    if sys.platform == "linux":
        # Sent when the *thread* that started us ends, so a gateway starts workers from its event loop's thread.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        return False
    threading.Thread(target=_watch, args=(parent_pid,), name="parent-watch", daemon=True).start()
    return True


def _watch(parent_pid: int) -> None:
    never = threading.Event()
    while os.getppid() == parent_pid:
        never.wait(WATCH_S)
    os._exit(0)
