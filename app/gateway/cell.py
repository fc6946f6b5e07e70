"""One cell: its sessions, the workers they run in, and the view by which they are assigned.

It connects the sessions with the workers' links and the counters, and carries out sweeps. The view is given to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import monotonic, time
from typing import Literal, cast

from app.errors import IllegalTransition
from app.gateway.canary_watch import CanaryWatch
from app.gateway.codec import JsonCodec
from app.gateway.identity import Identity
from app.gateway.message import AcceptedMessage
from app.gateway.ports import (
    BucketRow,
    CellObserver,
    ClientSocket,
    HandoverOutcome,
    Lookout,
    MessageOutcome,
    PathWorker,
    Socket,
    Timer,
    Worker,
)
from app.gateway.rate_limits import TokenBuckets
from app.gateway.saved_session import SavedSession
from app.gateway.session import Session, SessionState
from app.gateway.session_index import SessionIndex
from app.gateway.session_setup import ClientConnection, SessionSetup
from app.gateway.sweep import RunningSweep, Sweep, SweepReport
from app.link.frames import Done, RunEvent, Started, Traffic
from app.metrics.counters import Counters
from app.pool.death import Death
from app.pool.state import PathState
from app.settings import Settings
from rollout.assign import View, assign
from rollout.names import PathName
from rollout.views import SessionView

INPUT_FACTOR = 10
"""A client may send this many times the message rate of anything (pings, refused frames); beyond it, 1008."""

PAUSE_S = 0.2
"""When this process stood still for so long, others may have rolled back meanwhile."""


class Cell:
    """See the module. All methods but `verify` are synchronous; call them in the event loop."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        counters: Counters,
        owns_thread: Callable[[str, str], bool],
        hash_bucket: Callable[[str, str], int],
        *,
        observer: CellObserver[Session],
        lookout: Lookout | None = None,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        """`owns_thread(user, thread)`; `hash_bucket(group, user)` gives 1..100; `lookout` is None for the only cell.

        `clock` gives monotonic seconds, `wall_clock` Unix seconds.
        """
        self.name = name
        self.settings = settings
        self.counters = counters
        self.index = SessionIndex()
        self._canary = CanaryWatch(self.index.on["v3"])
        self.codec = JsonCodec()
        self.limits = settings
        self.workers: dict[PathName, PathWorker | None] = {"v2": None, "v3": None}
        self.locked = False
        self.clock = clock
        self.wall_clock = wall_clock
        self.owns_thread = owns_thread
        self._observer = observer
        self._lookout = lookout
        """Consulted before anybody is admitted to v3."""
        self._unavailable: dict[PathName, tuple[str, int]] = {"v2": ("not started", 0), "v3": ("not started", 0)}
        """Why nobody serves a path, for a person, and its restarts so far; out of date while a worker serves."""
        self._hash_bucket = hash_bucket
        self._given_view = View(forced=settings.forced)
        self.view = self._given_view
        self._move_existing = True
        self._loop: asyncio.AbstractEventLoop | None = None
        per_second = settings.rate_messages_per_minute / 60
        self._message_rates = TokenBuckets(per_second, settings.rate_messages_burst)
        self._input_rates = TokenBuckets(per_second * INPUT_FACTOR, settings.rate_messages_burst * INPUT_FACTOR)
        self._sweep: RunningSweep | None = None
        self._sweeps = 0
        self._others_heard_at = 0.0
        self._unstarted: dict[PathName, dict[int, float]] = {"v2": {}, "v3": {}}
        self._when_finished: dict[int, Callable[[], None]] = {}

    # -- sessions open and end ----------------------------------------------------------------------------------------

    def open(
        self,
        identity: Identity,
        socket: Socket,
        connection_id: str,
        transport: Literal["websocket", "http"] = "websocket",
        *,
        resume_token: str = "",
        saved: SavedSession | None = None,
    ) -> Session:
        """Assign and register, in one turn without an await. `saved`: the session that a resume continues."""
        view, flag = self.view, self.view.flag
        bucket = self._hash_bucket(flag.group_id if flag else self.settings.flag, identity.user_id)
        assignment = assign(identity.user_id, view, bucket)
        if assignment.path == "v3" and self._hear_others() is not view:
            assignment = assign(identity.user_id, self.view, bucket)
        setup = SessionSetup(
            key=self.index.new_key(),
            identity=identity,
            client=ClientConnection(socket, connection_id, self.wall_clock(), resume_token),
            assignment=assignment,
            bucket=bucket,
            bucket_key=flag.key if flag else None,
            message_rate=self._message_rates.of(identity.user_id, self.clock()),
            input_rate=self._input_rates.of(identity.user_id, self.clock()),
            transport=transport,
        )
        session = Session(setup, self) if saved is None else Session.resume(saved, setup, self)
        self.index.add(session)
        if transport == "websocket":
            self._admitted(session)
        return session

    def __len__(self) -> int:
        """Live sessions."""
        return len(self.index)

    def sockets_of(self, user_id: str) -> list[ClientSocket]:
        """Open WebSockets of one user; messages over HTTP have none."""
        sessions = self.index.of_user(user_id)
        return [
            cast("ClientSocket", session.socket)
            for session in sessions
            if session.socket is not None and session.transport == "websocket"
        ]

    def ended(self, session: Session) -> None:
        self.index.remove(session)
        self._when_finished.pop(session.key, None)
        self._unstarted["v2"].pop(session.key, None)
        self._unstarted["v3"].pop(session.key, None)
        self._canary.note()
        self._observer.session_ended(session)

    def when_finished(self, session: Session, call: Callable[[], None]) -> None:
        """Call this in the turn after the session's next terminal event."""
        self._when_finished[session.key] = call

    def close_idle(self) -> None:
        """Close sockets that were silent too long (1001) or whose sign-in expired (1008); called every few seconds."""
        idle_before, now = self.clock() - self.settings.idle_s, self.wall_clock()
        for session in list(self.index):
            if session.socket is None or session.transport == "http":
                continue
            if session.expires_at is not None and session.expires_at <= now:
                session.close(1008, "sign-in expired")
            elif session.last_input_at < idle_before and session.running is None and not session.queue:
                session.close(1001, "idle")

    def forget_rates(self) -> None:
        """Forget users who have no session, and send so little that it no longer matters; called every few seconds."""
        now = self.clock()
        for rates in (self._message_rates, self._input_rates):
            rates.forget_full(now, in_use=self.index.user_ids())

    # -- for sessions (SessionContext) --------------------------------------------------------------------------------

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.call_later(seconds, call)

    def rejected(self, session: Session) -> None:
        self.counters.message(session.path, session.transport, "rejected")

    def dispatched(self, session: Session) -> None:
        self._unstarted[session.path][session.key] = self.clock()
        if session.transport == "http":
            self._admitted(session)

    def finished(self, session: Session, message: AcceptedMessage, outcome: MessageOutcome, done: Done | None) -> None:
        self.counters.message(message.path, session.transport, outcome, self.clock() - message.accepted_at)
        self._unstarted[message.path].pop(session.key, None)
        handed_over = session.target is not None and message.dispatched_at > 0.0
        # Cancelled at the deadline, or ended by the death of its worker while the rollback waited for it.
        cut_short = outcome == "interrupted" or (outcome == "error" and done is None)
        if cut_short and handed_over and self._sweep is not None and message.path == "v3":
            self._sweep.count_interrupted()
        if done is not None and done.error is not None:
            code, fingerprint, reference = done.error
            self.counters.error(message.path, code, fingerprint, reference, session.user_id, now=self.wall_clock())
        elif outcome == "error":
            self.counters.error(message.path, "interrupted", "path lost", "", session.user_id, now=self.wall_clock())
        if (waiter := self._when_finished.pop(session.key, None)) is not None:
            self.later(0, waiter)
        if done is not None and not done.restored:
            other: PathName = "v2" if message.path == "v3" else "v3"
            self.counters.handover(other, message.path, "identity", 0.0)

    def committed(self, session: Session) -> None:
        self._observer.session_committed(session)

    def rebound(self, session: Session, source: PathName, outcome: HandoverOutcome, waited_s: float) -> None:
        self.counters.handover(source, session.path, outcome, waited_s)
        self._unstarted[source].pop(session.key, None)
        if source == session.path:
            return  # to another worker of the same path: no admission, and not part of a sweep
        self.index.moved(session, source)
        if self._sweep is not None:
            self._sweep.count_moved()
        if session.path == "v3":
            self._canary.admitted(self.clock())
            self.counters.admission("v3", session.reason)
        else:
            self._canary.note()

    def rerun(self, session: Session) -> None:
        self._unstarted["v2"].pop(session.key, None)
        self._unstarted["v3"].pop(session.key, None)

    def closing(self, session: Session, code: int) -> None:
        """This side closes a socket. Only a client too slow for its events (1013) may be closed because of a sweep."""
        if self._sweep is not None and code == 1013:
            self._sweep.count_closed()

    def _admitted(self, session: Session) -> None:
        self.counters.admission(session.path, session.reason)
        if session.path == "v3":
            self._canary.admitted(self.clock())

    # -- for pools of workers (PathEvents) ----------------------------------------------------------------------------

    def path_frames(self, path: PathName, frames: list[Traffic]) -> None:
        """Raises `IllegalTransition` when the worker broke the protocol, after all other frames were handled."""
        if self._lookout is not None and self.clock() - self._others_heard_at > PAUSE_S:
            self._hear_others()  # a message that ends now may take its session to v3
        by_key, unstarted = self.index.by_key, self._unstarted[path]
        broken: IllegalTransition | None = None
        for frame in frames:
            session = by_key.get(frame.session)
            if session is None or session.epoch != frame.epoch or session.worker is None:
                self.counters.stale_event()
                continue
            try:
                if isinstance(frame, RunEvent):
                    session.on_event(frame.number, frame.body)
                elif isinstance(frame, Started):
                    unstarted.pop(frame.session, None)
                    session.on_started(frame.number)
                else:
                    session.on_done(frame)
            except IllegalTransition as error:
                broken = error
        if broken is not None:
            raise broken

    def path_up(self, path: PathName, worker: PathWorker) -> None:
        before = self.workers[path]
        self.workers[path] = worker
        if path == "v3":
            self._canary.worker_up(worker)
        for session in list(self.index.on[path]):
            if session.state is SessionState.HELD:
                session.on_path_restored()
            elif before is not None and before is not worker and session.worker is before:
                session.renew()
        self._observer.path_changed(path, None)
        if path == "v3":
            self._resweep()

    def path_down(self, path: PathName, worker: PathWorker, death: Death) -> None:
        """The worker is gone: its sessions continue on v2, or wait until v2 is back."""
        serving = self.workers[path] is worker
        self._canary.worker_gone(worker)
        if serving:
            self.workers[path] = None
        if path == "v3" and serving:
            self.view = self._effective_view()
        for session in list(self.index.on[path]):
            if session.worker is worker or (serving and session.worker is None):
                target: PathName | None = "v2" if path == "v3" and self.workers["v3"] is None else None
                session.on_path_lost(target, "v3_unavailable")
        if path == "v3" and serving:
            for session in list(self.index):  # being handed over to v3, or still in a worker that was being replaced
                if "v3" in (session.path, session.target):
                    session.move("v2", "v3_unavailable")
        self._observer.path_changed(path, death)
        self._canary.note()

    def path_unavailable(self, path: PathName, reason: str, restarts: int) -> None:
        """Keeps the reason for `path_state`; sessions are moved by `path_down`."""
        self._unavailable[path] = reason, restarts

    def uses(self, worker: Worker) -> bool:
        """Whether any session still runs in this worker."""
        return any(session.worker is worker for session in self.index)

    def oldest_unstarted_s(self, path: PathName) -> float:
        waiting = self._unstarted[path]
        return self.clock() - min(waiting.values()) if waiting else 0.0

    # -- for the control loop (app.control.ports.CellPort) ------------------------------------------------------------

    def apply(self, view: View, *, rollback: bool = False, per_second: int = 0, move_existing: bool = True) -> Sweep:
        """View first, then sweep; see `app.control.ports.CellPort`."""
        self._given_view = view
        self.view = self._effective_view()
        self.locked = view.locked
        self._move_existing = move_existing
        sessions: Iterable[Session] = list(self.index)
        if not (move_existing or rollback or view.locked):
            sessions = []
        cancel_after_s = self.settings.drain_s if rollback or view.locked else None
        return self._start_sweep(sessions, cancel_after_s, per_second)

    def _hear_others(self) -> View:
        """The view, after whatever other cells sent meanwhile was acted on."""
        if self._lookout is not None:
            self._others_heard_at = self.clock()
            self._lookout.look()
        return self.view

    def _effective_view(self) -> View:
        return replace(self._given_view, v3_available=self.workers["v3"] is not None)

    def _resweep(self) -> None:
        """v3 is served again: decide again by the view in force; a rollback under way goes on as the same sweep."""
        self.view = self._effective_view()
        if self._sweep is not None and self._sweep.rollback:
            self._sweep.add(list(self.index))
        elif self._move_existing:
            self._start_sweep(list(self.index), None, 0)

    def _start_sweep(self, sessions: Iterable[Session], cancel_after_s: float | None, per_second: int) -> Sweep:
        overtaken = self._sweep
        if overtaken is not None:
            overtaken.overtake()
            self._canary.note()
        self._sweeps += 1
        sweep = self._sweep = RunningSweep(
            self._sweeps,
            sessions,
            self._decide,
            self,
            cancel_after_s=cancel_after_s,
            per_second=per_second,
            done=self._canary.note,
            hear_others=self._hear_others,
            overtaken=overtaken,
        )
        sweep.run_slice()
        return sweep.snapshot()

    def _decide(self, session: Session) -> tuple[PathName, str]:
        view = self.view
        flag = view.flag
        if flag is not None and flag.key != session.bucket_key:
            session.keep_bucket(self._hash_bucket(flag.group_id, session.user_id), flag.key)
        assignment = assign(session.user_id, view, session.bucket)
        return assignment.path, assignment.reason

    async def verify(self, sweep: Sweep) -> SweepReport:
        """Wait for what a rollback promises, seen: no session on v3, none admitted, v3's worker says zero."""
        running = self._sweep
        if running is None or running.number != sweep.id:
            return SweepReport(0.0, 0.0, 0, 0, 0, verified=False)
        return await self._canary.verify(running)

    def moving(self) -> int:
        waiting = self._sweep.waiting if self._sweep is not None else 0
        return waiting + sum(1 for session in self.index if session.target is not None)

    # -- for pages and calls ------------------------------------------------------------------------------------------

    def sessions(self) -> Iterator[SessionView]:
        return (self._session_view(session) for session in list(self.index))

    def sessions_of(self, user_id: str) -> list[SessionView]:
        return [self._session_view(session) for session in self.index.of_user(user_id)]

    def buckets(self) -> Iterator[BucketRow]:
        for user_id, sessions in self.index.users():
            yield BucketRow(user_id, sessions[0].bucket, sessions[0].path, len(sessions))

    def users_on(self, path: PathName) -> set[str]:
        return self.index.users_on(path)

    def path_state(self, path: PathName) -> PathState:
        sessions, users = len(self.index.on[path]), self.index.user_count(path)
        worker = self.workers[path]
        if worker is None:
            reason, restarts = self._unavailable[path]
            return PathState(False, reason, None, sessions, users, None, None, restarts, None)
        return PathState(
            available=True,
            reason=None,
            build=worker.build,
            sessions=sessions,
            users=users,
            memory_bytes=worker.memory_bytes,
            session_memory_bytes=worker.session_memory_bytes,
            restarts=worker.restarts,
            uptime_s=worker.uptime_s,
            exports_state=worker.exports_state,
        )

    def _session_view(self, session: Session) -> SessionView:
        return SessionView(
            connection_id=session.connection_id,
            user_id=session.user_id,
            path=session.path,
            reason=session.reason,
            state=session.state.value,
            cell=self.name,
            connected_at=session.connected_at,
            messages=session.last_number,
            queued=len(session.queue),
            epoch=session.epoch,
        )
