"""The interface to the feature flag: what a decision asks of it, and how the rollout's percentage gets into it.

`embedded.py` implements it without a server; `app.serve.service` alone chooses the implementation.
"""

from __future__ import annotations

from typing import Protocol

from app.errors import CrossfadeError
from rollout.assign import FlagRule
from rollout.state import Rollout


class FlagRejected(CrossfadeError):
    """The flag engine does not accept a document as it is; the flag keeps its old value."""


class Flags(Protocol):
    """The feature flag as one cell sees it."""

    def rule(self) -> FlagRule | None:
        """The flag's rule now; None: there is no such flag, or nothing is known yet."""
        ...

    def engine_evaluate(self, user: str) -> bool:
        """The engine's own answer for a user id, about 20 µs; False for an empty id, and when nothing is known."""
        ...

    def percentage(self) -> int | None:
        """The flag's whole percentage, 0 when it is off; None: unknown, or not a plain percentage."""
        ...

    def age_s(self, now: float) -> float | None:
        """Seconds since the flag was last known to be up to date, at Unix time `now`; None: never. Embedded: 0."""
        ...

    async def apply(self, rollout: Rollout) -> None:
        """Set the flag to the record's percentage and check that it has it.

        Raises FlagRejected when it is not accepted, or another CrossfadeError when the flag cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Stop threads and close connections."""
        ...
