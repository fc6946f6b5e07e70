"""Keeps the flag in line with the record: writes it when the record changes, and tries again until it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from app.control.state import State
from app.control.views import FlagStatus
from app.errors import CrossfadeError
from app.flags import Flags
from app.settings import Settings

STALE_S = 30.0
"""When the flag was last read longer ago than this, nothing advances by itself."""
log = structlog.get_logger()


class FlagWriter:
    """The flag of one rollout. `clock` gives Unix seconds."""

    def __init__(self, flags: Flags, state: State, settings: Settings, clock: Callable[[], float]) -> None:
        self._flags = flags
        self._state = state
        self._settings = settings
        self._clock = clock
        self._turn = asyncio.Lock()
        self._written: int | None = None

    async def write(self) -> bool:
        """Write the flag as the record in force says when this call's turn comes; False: the flag cannot be reached."""
        async with self._turn:
            record = self._state.record
            try:
                await self._flags.apply(record)
            except CrossfadeError as error:
                log.warning("the flag cannot be written yet", error=str(error), percentage=record.percentage)
                self._written = None
                return False
            self._written = record.revision
            return True

    @property
    def behind(self) -> bool:
        """Whether the flag has to be written again."""
        return self._written is None

    @property
    def percentage(self) -> int | None:
        """What the flag reads now; None: it could not be read."""
        return self._flags.percentage()

    @property
    def age_s(self) -> float | None:
        """Seconds since the flag was read; None: never."""
        return self._flags.age_s(self._clock())

    @property
    def known(self) -> bool:
        """Whether the flag was read within `STALE_S`."""
        age_s = self.age_s
        return age_s is not None and age_s <= STALE_S

    @property
    def status(self) -> FlagStatus:
        """How flag and record compare, in the words of the pages."""
        record = self._state.record
        if not self._settings.unleash_url:
            return "embedded"
        if not self.known:
            return "unreachable"
        if self._written != record.revision and self.percentage != record.percentage:
            return "pending"
        return "in step" if self.percentage == record.percentage else "changed outside"
