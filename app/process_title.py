"""The name under which `ps` and `top` show a process of ours, so that an operator sees which one does what."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

set_command_line: Callable[[str], None] | None
try:
    from setproctitle import setproctitle as set_command_line
except ImportError:  # a worker in people's own virtual environment, which need not have it
    set_command_line = None

_PR_SET_NAME = 15  # linux/prctl.h
_NAME_BYTES = 15
"""Linux keeps so much of a name that is not the command line."""


def set_process_title(role: str) -> None:
    """Show this process as `crossfade: <role>`, such as "gateway a" or "worker v3 1.4.2"; call it in the main thread.

    Without the package setproctitle only the short name is set (Linux; `ps -o comm`, `top`), to the beginning of
    `role`; elsewhere nothing is.
    """
    if set_command_line is not None:
        set_command_line(f"crossfade: {role}")
    elif sys.platform == "linux":
        name = role.encode()[:_NAME_BYTES].decode(errors="ignore").encode()  # no half of a character
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name, 0, 0, 0)
