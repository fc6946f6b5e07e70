"""The rollout's own clock in one cell: the time that the record says, and the monotonic time since.

It runs while a cell leads. A cell that follows estimates what the leader has counted since its last save.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SAVE_S: Final = 30.0
"""How often the leader saves the clock, and for how long a cell that follows lets it run without news of a leader."""


class RolloutClock:
    """`monotonic` gives seconds and never goes back."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._read_s: float | None = None
        """What the record said last; None: no record was read yet."""
        self._base_s = 0.0
        """What the clock showed at `_since`."""
        self._since = 0.0
        self._until = 0.0
        """The clock stands still from then on, unless there is news of a leader."""
        self._leads = False

    @property
    def elapsed_s(self) -> float:
        """Seconds on the rollout's clock now."""
        return self._base_s + max(0.0, min(self._monotonic(), self._until) - self._since)

    @property
    def unsaved_s(self) -> float:
        """Seconds that this cell has counted and not saved yet."""
        leads = self._leads and self._monotonic() < self._until
        return max(0.0, self.elapsed_s - (self._read_s or 0.0)) if leads else 0.0

    def read(self, elapsed_s: float) -> None:
        """Take the time that the record says. A leader keeps its own, unless another cell has saved a later one."""
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
        """This cell leads until `until` (monotonic seconds): it starts to count, or goes on."""
        now = self._monotonic()
        if until <= now:
            return
        if not self._leads:
            self._base_s, self._since = self._read_s or 0.0, now
        elif self._until < now:
            self._base_s, self._since = self.elapsed_s, now
        self._until, self._leads = until, True
