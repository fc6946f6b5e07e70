"""When a worker is hung, and when a dead one is started again: two rules; times are arguments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

UNANSWERED = 4


@dataclass(frozen=True, slots=True)
class BackOff:
    """Seconds before a dead worker is started again: `after_health_s` when it lived for `healthy_s`, else `first_s`.

    Each early death after that doubles the wait, to `most_s`; a healthy life begins anew.
    """

    healthy_s: float
    after_health_s: float
    first_s: float
    most_s: float


STABLE_BACK_OFF = BackOff(healthy_s=1.0, after_health_s=0.0, first_s=0.25, most_s=1.0)
"""Everybody waits for v2, and nobody else can serve them."""
CANARY_BACK_OFF = BackOff(healthy_s=60.0, after_health_s=0.1, first_s=0.1, most_s=5.0)
"""Its users are on v2 meanwhile."""


class Heartbeat:
    """Detects a hang. `tick` is called every `ping_s`, after the link was read, and counts one ping sent.

    A late tick means that our own process or the machine stood still: that time does not count as the worker's silence.
    """

    def __init__(self, ping_s: float, hang_s: float, unstarted_s: float) -> None:
        self._ping_s = ping_s
        self._hang_s = hang_s
        self._unstarted_s = unstarted_s
        self._last_tick: float | None = None
        self._silent_s = 0.0
        self._unanswered = 0
        self._overdue = 0

    def heard(self) -> None:
        """Something came from the worker."""
        self._silent_s = 0.0
        self._unanswered = 0

    def tick(self, now: float, oldest_unstarted_s: float) -> str | None:
        """Why the worker is hung, for a person; None: it is not."""
        elapsed_s = self._ping_s if self._last_tick is None else now - self._last_tick
        self._last_tick = now
        if elapsed_s > 2 * self._ping_s:
            self._overdue = 0
            return None
        answered = self._unanswered == 0
        self._silent_s += elapsed_s
        self._unanswered += 1
        if self._silent_s > self._hang_s and self._unanswered > UNANSWERED:
            return (
                f"silent for {self._silent_s:.1f} s (limit {self._hang_s:g} s), {self._unanswered - 1} pings unanswered"
            )
        # It must still be so some answers later: right after a pause of the machine, or of a blocking v2, the age is
        # large and means nothing.
        self._overdue = self._overdue + 1 if answered and oldest_unstarted_s > self._unstarted_s else 0
        if self._overdue >= UNANSWERED:
            return (
                f"answers, but has not started a message for {oldest_unstarted_s:.1f} s (limit {self._unstarted_s:g} s)"
            )
        return None


class Restarts:
    """Delays restarts, by one path's back-off."""

    def __init__(self, back_off: BackOff, crash_limit: int | None, crash_window_s: float) -> None:
        """`crash_limit` deaths within the window keep the path down until `reset`; None: it is always restarted."""
        self._back_off = back_off
        self._crash_limit = crash_limit
        self._crash_window_s = crash_window_s
        self._deaths: deque[float] = deque()
        self._wait_s = back_off.first_s

    def died(self, now: float, uptime_s: float) -> float | None:
        """Seconds to wait before the next start; None: it stays down. `uptime_s` is 0 for one that never served."""
        if self._crash_limit is not None:
            self._deaths.append(now)
            while self._deaths[0] <= now - self._crash_window_s:
                self._deaths.popleft()
            if len(self._deaths) >= self._crash_limit:
                return None
        if uptime_s >= self._back_off.healthy_s:
            self._wait_s = self._back_off.first_s
            return self._back_off.after_health_s
        wait_s = self._wait_s
        self._wait_s = min(self._back_off.most_s, 2 * wait_s)
        return wait_s

    def reset(self) -> None:
        """Forget all deaths: a person asked for a start, or there is another build."""
        self._deaths.clear()
        self._wait_s = self._back_off.first_s
