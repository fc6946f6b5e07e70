"""Sweeps: after a change of the view every live session is decided again and handed over where it differs.

A sweep runs in slices of a few milliseconds so that no message waits for it; nothing slips in between, because new
sessions follow the new view already and every dispatch re-checks the lock.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from app.gateway.ports import Timer
from app.gateway.session import Session
from rollout.names import PathName


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one change of the view had done in a cell when `Cell.apply` returned. Times are monotonic seconds."""

    id: int
    """Counts the sweeps of this cell; a later one overtakes the earlier."""
    at: float
    """When the view was set: no session is admitted by the old one after this."""
    rollback: bool
    decided: int
    """Sessions that were decided again."""
    to_move: int
    """Sessions whose decision differs from where they are: moved at once, paced, or at the end of their message."""
    moved: int
    """Those of them that were idle, and are on their new path already."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a cell observed of a rollback's sweep; never an estimate. The clocks start at `Sweep.at`."""

    new_stopped_ms: float
    """Until the last admission to v3."""
    existing_moved_ms: float
    """Until no session was on v3 and v3's worker had answered a later barrier with zero (or was dead)."""
    sessions_moved: int
    """By this sweep and by those of the same rollback that it overtook, as the two below."""
    closed: int
    """Client sockets that were closed because of it; the promise is zero."""
    interrupted: int
    """Running messages that were cancelled at the deadline."""
    verified: bool
    """False: a later sweep overtook this one before all of it was observed."""


SLICE_S = 0.005
"""Longest work in one turn of the loop; the promise is 10 ms."""
PACE_S = 0.1
"""A paced sweep hands over this often."""
CATCH_UP_S = 1.0
"""After a pause of the process, a paced sweep makes up for this much of it at most."""

Decide = Callable[[Session], tuple[PathName, str]]


class SweepClock(Protocol):
    """Time, as the sweep's cell has it."""

    def clock(self) -> float:
        """Monotonic seconds."""
        ...

    def later(self, seconds: float, call: Callable[[], None]) -> Timer: ...


class RunningSweep:
    """One sweep under way: what is still to be decided or handed over, and what came of it."""

    def __init__(
        self,
        number: int,
        sessions: Iterable[Session],
        decide: Decide,
        time: SweepClock,
        *,
        cancel_after_s: float | None,
        per_second: int,
        done: Callable[[], None],
        hear_others: Callable[[], object] = lambda: None,
        overtaken: RunningSweep | None = None,
    ) -> None:
        """`cancel_after_s` is a rollback's; `per_second`: handovers, 0 for all at once; `hear_others` is called before
        each slice of anything but a rollback, and may overtake this sweep. `overtaken` is the sweep before: what it did
        counts here too where both are a rollback's.
        """
        self.at = time.clock()
        self.number = number
        self.rollback = cancel_after_s is not None
        self.decided = 0
        self.to_move = 0
        self.moved = 0
        self.interrupted = 0
        self.closed = 0
        self.overtaken = False
        self._todo = deque(sessions)
        self._paced: deque[Session] = deque()
        self._decide = decide
        self._time = time
        self._cancel_after_s = cancel_after_s
        self._per_second = 0 if self.rollback else per_second
        self._share = max(1.0, per_second * PACE_S)
        """Sessions that may be handed over now; what is left of a whole one counts in the next turn."""
        self._shared_at = self.at
        self._done = done
        self._hear_others = hear_others
        self._timer: Timer | None = None
        self._before = (
            overtaken.totals() if overtaken is not None and overtaken.rollback and self.rollback else (0, 0, 0)
        )

    def add(self, sessions: Iterable[Session]) -> None:
        """Decide these again under the same sweep: the view is the same, but a worker came or went."""
        self._todo.extend(sessions)
        if self._timer is None:
            self.run_slice()

    def run_slice(self) -> None:
        """Decide and move until the slice is over; go on in a later turn."""
        self._timer = None
        if not self.rollback:
            self._hear_others()
        clock = self._time.clock
        deadline = clock() + SLICE_S
        todo, decide, cancel_after_s = self._todo, self._decide, self._cancel_after_s
        for count in itertools.count(1):
            if not todo:
                break
            session = todo.popleft()
            path, reason = decide(session)
            self.decided += 1
            if path == session.path and session.target is None:
                if reason != session.reason:
                    session.stay(reason)
            else:
                if path != session.path:
                    self.to_move += 1
                if self._per_second and path != session.path:
                    self._paced.append(session)
                else:
                    session.move(path, reason, cancel_after_s)
            if count % 32 == 0 and clock() > deadline:
                self._timer = self._time.later(0.0, self.run_slice)
                return
        if self._paced:
            self._run_paced()
        else:
            self._done()

    def _run_paced(self) -> None:
        """Hand over as many sessions as the time that has passed allows."""
        self._timer = None
        self._hear_others()
        now = self._time.clock()
        self._share += min(now - self._shared_at, CATCH_UP_S) * self._per_second
        self._shared_at = now
        while self._paced and self._share > 1 - 1e-6:  # sums of fractions come out a little less than whole
            session = self._paced.popleft()
            session.move(*self._decide(session))  # again: a path may have gone down meanwhile
            self._share -= 1
            if self._time.clock() > now + SLICE_S:
                break
        if self._paced:
            wait_s = 0.0 if self._share >= 1 else max(PACE_S, (1 - self._share) / self._per_second)
            self._timer = self._time.later(wait_s, self._run_paced)
        else:
            self._done()

    def count_moved(self) -> None:
        """A session was bound to its other path."""
        self.moved += 1

    def count_interrupted(self) -> None:
        """A running message was cut short by it."""
        self.interrupted += 1

    def count_closed(self) -> None:
        """A client's socket was closed because of it."""
        self.closed += 1

    def totals(self) -> tuple[int, int, int]:
        """Moved, closed and interrupted, by this sweep and those of the same rollback before it."""
        moved, closed, interrupted = self._before
        return moved + self.moved, closed + self.closed, interrupted + self.interrupted

    @property
    def waiting(self) -> int:
        """Sessions whose turn has not come."""
        return len(self._todo) + len(self._paced)

    def overtake(self) -> None:
        """A later change decides from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._todo.clear()
        self._paced.clear()
        self.overtaken = True

    def snapshot(self) -> Sweep:
        return Sweep(
            id=self.number,
            at=self.at,
            rollback=self.rollback,
            decided=self.decided,
            to_move=self.to_move,
            moved=self.moved,
        )

    def report(self, *, last_admission_at: float, verified: bool) -> SweepReport:
        moved, closed, interrupted = self.totals()
        return SweepReport(
            new_stopped_ms=max(0.0, last_admission_at - self.at) * 1000,
            existing_moved_ms=(self._time.clock() - self.at) * 1000,
            sessions_moved=moved,
            closed=closed,
            interrupted=interrupted,
            verified=verified,
        )
