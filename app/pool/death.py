"""Why a worker is gone, in words for a person."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal, TypeAlias

DownReason: TypeAlias = Literal["killed", "crashed", "hung", "memory", "start_failed", "replaced"]
"""killed: by somebody else's signal; crashed: it ended by itself, or broke the link; replaced: stopped on purpose."""


@dataclass(frozen=True, slots=True)
class Death:
    """Why a worker is gone; `detail` is one line for a person."""

    reason: DownReason
    detail: str


_CRASH_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


def explain(status: int) -> Death:
    """Why a process that we did not end has ended, from the exit status as `subprocess` gives it."""
    if status >= 0:
        return Death("crashed", f"ended by itself with status {status}")
    number = -status
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return Death("crashed" if number in _CRASH_SIGNALS else "killed", f"ended by {name}")
