"""Why a worker is gone, in words for a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    pass
import signal

DownReason: TypeAlias = Literal["killed", "crashed", "hung", "memory", "start_failed", "replaced"]
"""killed: by a signal that was not ours; crashed: ended by itself, or broke the link; replaced: stopped on purpose."""


@dataclass(frozen=True, slots=True)
class Death:
    """Why a worker is gone; `detail` is one line for a person."""

    reason: DownReason
    detail: str


_CRASH_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


def explain(status: int) -> Death:
    """A death that was not ours, from the exit status as `subprocess` gives it."""
    if status >= 0:
        return Death("crashed", f"ended by itself with status {status}")
    number = -status
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return Death("crashed" if number in _CRASH_SIGNALS else "killed", f"ended by {name}")
