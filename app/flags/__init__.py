"""The port to the feature flag: what a decision may ask of it, and how the rollout's percentage gets there.

Knows no adapter: `embedded.py` implements it without a server, another one does against a real Unleash, and only
app/serve/service.py picks.
"""

from __future__ import annotations

from typing import Protocol

from app.errors import CrossfadeError
from rollout.assign import FlagRule
from rollout.state import Rollout


class FlagRejected(CrossfadeError):
    """The flag engine does not take a document as it is; the flag reads what it read before."""


class Flags(Protocol):
    """One feature flag of one cell."""

    def rule(self) -> FlagRule | None:
        """What the flag says now, for the view; None: there is no such flag, or nothing is known yet."""
        ...

    def engine_evaluate(self, user: str) -> bool:
        """The engine's own answer for a user id, about 20 µs; False for an empty id, and when nothing is known."""
        ...

    def percentage(self) -> int | None:
        """What the flag reads: its whole percentage, 0 when it is off; None: unknown, or not a plain percentage."""
        ...

    def age_s(self, now: float) -> float | None:
        """Seconds (Unix time `now`) since the flag was last known to be right; None: never. Embedded: always 0."""
        ...

    async def apply(self, rollout: Rollout) -> None:
        """Bring the flag to the record's percentage and see that it reads so.

        Raises FlagRejected when it is not taken, and CrossfadeError kinds of the adapter when it cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...
