"""When a worker is hung, and when a dead one is started again: two rules; times are arguments."""

from __future__ import annotations

from collections import deque

UNANSWERED = 4
BACK_OFF_S = 0.1
MOST_BACK_OFF_S = 5.0
HEALTHY_S = 60.0


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
    """Delays restarts. The back-off doubles from 0.1 to 5 s and begins anew after a worker lived for a minute."""

    def __init__(self, crash_limit: int | None, crash_window_s: float) -> None:
        """`crash_limit` deaths within the window keep the path down until `reset`; None: it is always restarted."""
        self._crash_limit = crash_limit
        self._crash_window_s = crash_window_s
        self._deaths: deque[float] = deque()
        self._back_off_s = BACK_OFF_S

    def died(self, now: float, uptime_s: float) -> float | None:
        """Seconds to wait before the next start; None: it stays down."""
        if uptime_s >= HEALTHY_S:
            self._back_off_s = BACK_OFF_S
        if self._crash_limit is not None:
            self._deaths.append(now)
            while self._deaths[0] <= now - self._crash_window_s:
                self._deaths.popleft()
            if len(self._deaths) >= self._crash_limit:
                return None
        wait_s = self._back_off_s
        self._back_off_s = min(MOST_BACK_OFF_S, 2 * wait_s)
        return wait_s

    def reset(self) -> None:
        """Forget all deaths: a person asked for a start, or there is another build."""
        self._deaths.clear()
        self._back_off_s = BACK_OFF_S
