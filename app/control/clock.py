"""The rollout's own clock in one cell: what the record says of it, and what has passed since by the monotonic clock.

It counts while a cell leads. A cell that follows estimates what the leader has counted since it saved last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SAVE_S: Final = 30.0
"""The leader saves the clock so often; whoever follows has not heard of a leader for longer than that at most."""


class RolloutClock:
    """`monotonic` gives seconds, and never goes back."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._read_s: float | None = None
        """What the record said last; None: there was none yet."""
        self._base_s = 0.0
        """What the clock said at `_since`."""
        self._since = 0.0
        self._until = 0.0
        """It stands still from then on, unless a leader is heard of."""
        self._leads = False

    @property
    def elapsed_s(self) -> float:
        """Seconds on the rollout's clock now."""
        return self._base_s + max(0.0, min(self._monotonic(), self._until) - self._since)

    @property
    def unsaved_s(self) -> float:
        """Seconds that this cell has counted and the record does not say yet."""
        leads = self._leads and self._monotonic() < self._until
        return max(0.0, self.elapsed_s - (self._read_s or 0.0)) if leads else 0.0

    def read(self, elapsed_s: float) -> None:
        """The record says so. A leader knows better, unless a cell that follows has saved a command since."""
        if elapsed_s == self._read_s:
            return
        self._read_s = elapsed_s
        now = self._monotonic()
        if not self._leads or self._until < now:
            self._leads = False
            self._base_s, self._since, self._until = elapsed_s, now, now + SAVE_S
        elif elapsed_s > self.elapsed_s:
            self._base_s, self._since = elapsed_s, now

    def lead(self, until: float) -> None:
        """This cell leads until then (monotonic seconds): it counts from now on, or goes on counting."""
        now = self._monotonic()
        if until <= now:
            return
        if not self._leads:
            self._base_s, self._since = self._read_s or 0.0, now
        elif self._until < now:
            self._base_s, self._since = self.elapsed_s, now
        self._until, self._leads = until, True
