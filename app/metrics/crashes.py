"""The guardrail `crashes`: two deaths of v3's workers in ten minutes, in whichever cells, fail it, and so roll back.

Counts deaths; it must not know why a worker died, nor what the verdict leads to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from rollout.views import VerdictView

GUARDRAIL = "crashes"
LIMIT = 2
WINDOW_S = 600.0


class Crashes:
    """Implements `app.control.ports.Guard` with this one guardrail, for one cell. `clock` in monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._deaths: deque[float] = deque(maxlen=LIMIT)

    def died(self) -> None:
        """The serving worker of v3 is gone, and nobody asked for it."""
        self._deaths.append(self._clock())

    def forget(self) -> None:
        """Another build is another matter."""
        self._deaths.clear()

    def new_epoch(self, percentage: int) -> None:
        """After a rollback it is a new start; a ramp is none."""
        if percentage == 0:
            self.forget()

    def verdicts(self) -> Sequence[VerdictView]:
        since = self._clock() - WINDOW_S
        return [verdict_of(sum(1 for at in self._deaths if at > since))]


def verdict_of(deaths: int) -> VerdictView:
    """What so many deaths in the window mean."""
    failed = deaths >= LIMIT
    return VerdictView(
        guardrail=GUARDRAIL,
        verdict="fail" if failed else "pass",
        words="v3 keeps dying" if failed else "no harm found",
        evidence=float(deaths),
        limit=float(LIMIT),
        detail=f"{deaths} deaths of v3's workers in 10 min, {LIMIT} roll back",
    )
