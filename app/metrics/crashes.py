"""The guardrail `crashes`: two deaths of v3's workers within ten minutes, counted over all cells, roll back."""

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
        """The serving worker of v3 ended without being told to."""
        self._deaths.append(self._clock())

    def forget(self) -> None:
        """Start again from no deaths, because another build serves."""
        self._deaths.clear()

    def new_epoch(self, percentage: int) -> None:
        """Start again from no deaths after a rollback; a ramp changes nothing."""
        if percentage == 0:
            self.forget()

    def verdicts(self) -> Sequence[VerdictView]:
        since = self._clock() - WINDOW_S
        return [verdict_of(sum(1 for at in self._deaths if at > since))]


def verdict_of(deaths: int) -> VerdictView:
    """The verdict for this many deaths within the window."""
    failed = deaths >= LIMIT
    return VerdictView(
        guardrail=GUARDRAIL,
        verdict="fail" if failed else "pass",
        words="v3 keeps dying" if failed else "no harm found",
        evidence=float(deaths),
        limit=float(LIMIT),
        detail=f"{deaths} {'death' if deaths == 1 else 'deaths'} of v3's workers in 10 min; {LIMIT} roll back",
    )
