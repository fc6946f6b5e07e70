"""When nothing may advance by itself: windows of absolute time, and windows that come back every week. All UTC.

The time is an argument, in Unix seconds: people mean the wall clock when they freeze a weekend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES: Final = 24 * 60
LOOKED_AHEAD: Final = 14


@dataclass(frozen=True, slots=True)
class FreezeOnce:
    """From one moment until another (Unix seconds), the end excluded."""

    from_s: float
    until_s: float

    def holds(self, now: float) -> bool:
        """Whether `now` lies in the window."""
        return self.from_s <= now < self.until_s

    def ends(self, now: float) -> float:
        """When the window that holds `now` does so no longer."""
        return self.until_s


@dataclass(frozen=True, slots=True)
class FreezeWeekly:
    """On these days from a minute of the day until another, UTC, the end excluded; 1440 is the end of the day."""

    days: tuple[str, ...]
    from_minute: int = 0
    until_minute: int = DAY_MINUTES

    def holds(self, now: float) -> bool:
        """Whether `now` lies in the window."""
        moment = datetime.fromtimestamp(now, UTC)
        minute = moment.hour * 60 + moment.minute
        return DAYS[moment.weekday()] in self.days and self.from_minute <= minute < self.until_minute

    def ends(self, now: float) -> float:
        """When the window that holds `now` does so no longer."""
        midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight.timestamp() + self.until_minute * 60


Freeze = FreezeOnce | FreezeWeekly


def frozen(windows: Iterable[Freeze], now: float) -> bool:
    """Whether any window holds now."""
    return any(window.holds(now) for window in windows)


def frozen_until(windows: Collection[Freeze], now: float) -> float | None:
    """When the windows that hold now, and those that follow without a gap, are over; None: none holds.

    Looks at most `LOOKED_AHEAD` windows ahead, so that a plan that is frozen for ever has an answer too.
    """
    moment = now
    for _ in range(LOOKED_AHEAD):
        ends = [window.ends(moment) for window in windows if window.holds(moment)]
        if not ends:
            break
        moment = max(ends)
    return None if moment == now else moment
