"""The moment at which something is decided, on the two clocks that a rollout goes by."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks."""

    wall: float
    """Unix seconds. Freeze windows, a plan's start and all that people read go by it; it may jump, forward and back."""
    elapsed_s: float
    """Seconds on the rollout's own clock. Baking and undo go by it: it never goes back, and stands still while no
    leader runs."""

    def not_before(self, elapsed_s: float) -> Now:
        """The same moment, with the rollout's clock at `elapsed_s` at least."""
        return self if self.elapsed_s >= elapsed_s else replace(self, elapsed_s=elapsed_s)
