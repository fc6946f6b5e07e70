"""A cell without sockets and workers: a list of sessions that really are decided, moved and watched."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from app.gateway.ports import BucketRow
from app.gateway.sweep import Sweep, SweepReport
from app.pool.state import PathState
from rollout.assign import View, assign
from rollout.cohort import bucket
from rollout.names import PathName
from rollout.views import SessionView

GROUP = "USE_WEBSOCKET_SUPERVISOR_V3"


@dataclass
class MemorySession:
    user_id: str
    path: PathName = "v2"
    reason: str = "flag"
    busy: bool = False
    """Moves when `finish` is called, not before."""


class MemoryCell:
    """Implements `app.control.ports.Cell`; `log` is told of every sweep, in the order of the test's other steps."""

    def __init__(self, name: str = "a", users: int = 0, log: list[str] | None = None) -> None:
        self.name = name
        self.view = View(v3_available=True)
        self.members = [MemorySession(f"u{number}") for number in range(users)]
        self.available: dict[PathName, bool] = {"v2": True, "v3": True}
        self.builds: dict[PathName, str | None] = {"v2": "v2-build", "v3": "v3-build"}
        self.applied: list[tuple[View, bool]] = []
        self.log = log if log is not None else []
        self.last_admission_at = 0.0
        """Monotonic seconds."""
        self._rollback = False
        self._sweeps = 0
        self._changed = asyncio.Event()
        self._moved: Counter[int] = Counter()
        """Sessions that moved, by the sweep that asked for it."""
        self._closed: Counter[int] = Counter()
        self._interrupted: Counter[int] = Counter()

    def connect(self, user_id: str) -> MemorySession:
        decided = assign(user_id, self.view, bucket(GROUP, user_id))
        return self._admit(MemorySession(user_id, decided.path, decided.reason))

    def slip_in(self, user_id: str) -> MemorySession:
        """A session that is admitted to v3 whatever the view says, as by a fault, and stays until `finish`."""
        return self._admit(MemorySession(user_id, "v3", busy=True))

    def _admit(self, session: MemorySession) -> MemorySession:
        self.members.append(session)
        if session.path == "v3":
            self.last_admission_at = monotonic()
        return session

    def finish(self) -> None:
        """Every running message ends."""
        for session in self.members:
            session.busy = False
        self._decide()

    def harm(self, *, closed: int, interrupted: int) -> None:
        """So many sockets were closed and messages cut off because of the sweep under way."""
        self._closed[self._sweeps] += closed
        self._interrupted[self._sweeps] += interrupted

    def on(self, path: PathName) -> int:
        return sum(session.path == path for session in self.members)

    def apply(self, view: View, *, rollback: bool = False, per_second: int = 0, move_existing: bool = True) -> Sweep:
        self.log.append("rollback" if rollback else "sweep")
        self.view = view
        self.applied.append((view, rollback))
        before, self._sweeps = self._sweeps, self._sweeps + 1
        if rollback and self._rollback:
            for counts in (self._moved, self._closed, self._interrupted):
                counts[self._sweeps] = counts[before]
        self._rollback = rollback
        at = monotonic()
        to_move = self._decide() if move_existing else 0
        self._changed.set()
        return Sweep(self._sweeps, at, rollback, len(self.members), to_move, self._moved[self._sweeps])

    def _decide(self) -> int:
        to_move = 0
        for session in self.members:
            decided = assign(session.user_id, self.view, bucket(GROUP, session.user_id))
            if decided.path != session.path:
                to_move += 1
                if not session.busy:
                    session.path = decided.path
                    self._moved[self._sweeps] += 1
                    if session.path == "v3":
                        self.last_admission_at = monotonic()
            session.reason = decided.reason
        self._changed.set()
        return to_move

    async def verify(self, sweep: Sweep) -> SweepReport:
        if sweep.id != self._sweeps:
            return SweepReport(0.0, 0.0, 0, 0, 0, verified=False)
        while sweep.id == self._sweeps and self.on("v3"):
            self._changed.clear()
            await self._changed.wait()
        return SweepReport(
            new_stopped_ms=max(0.0, self.last_admission_at - sweep.at) * 1000,
            existing_moved_ms=(monotonic() - sweep.at) * 1000,
            sessions_moved=self._moved[sweep.id],
            closed=self._closed[sweep.id],
            interrupted=self._interrupted[sweep.id],
            verified=sweep.id == self._sweeps,
        )

    def sessions(self) -> Iterator[SessionView]:
        return (self._view(session) for session in self.members)

    def sessions_of(self, user_id: str) -> list[SessionView]:
        return [self._view(session) for session in self.members if session.user_id == user_id]

    def _view(self, session: MemorySession) -> SessionView:
        return SessionView(
            connection_id=f"c-{session.user_id}",
            user_id=session.user_id,
            path=session.path,
            reason=session.reason,
            state="busy" if session.busy else "idle",
            cell=self.name,
            connected_at=1.0,
            messages=0,
            queued=0,
            epoch=1,
        )

    def buckets(self) -> Iterator[BucketRow]:
        for user_id in dict.fromkeys(session.user_id for session in self.members):
            mine = [session for session in self.members if session.user_id == user_id]
            yield BucketRow(user_id, bucket(GROUP, user_id), mine[0].path, len(mine))

    def users_on(self, path: PathName) -> set[str]:
        return {session.user_id for session in self.members if session.path == path}

    def path_state(self, path: PathName) -> PathState:
        count, users = self.on(path), len(self.users_on(path))
        return PathState(self.available[path], None, self.builds[path], count, users, 1000, 10.0, 0, 5.0)

    def moving(self) -> int:
        return sum(session.busy for session in self.members)
