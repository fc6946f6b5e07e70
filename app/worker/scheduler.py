"""The work of a path worker: messages run one at a time in each open session, and each gets its terminal event.

What it says goes to an `Outgoing`, in order; the process and the socket around it are main.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import TypeAlias

from app.link.frames import (
    Barrier,
    BarrierPassed,
    Cancel,
    Check,
    Close,
    Open,
    Ping,
    Pong,
    Run,
    SetFaults,
    Started,
    Stop,
    ToWorker,
)
from app.supervisor.contract import Opening, PathServing
from app.worker.checking import check
from app.worker.closing import ClosingSupervisors
from app.worker.execution import Execution, Outgoing
from app.worker.failures import Failures
from app.worker.sessions import OpenSession, RunningMessage

FORCE_S = 2.0
"""A timed-out message that does not end when it is cancelled is given up after this."""

ReplaceFaults: TypeAlias = Callable[[dict[str, float | int | str | bool]], None]


class Scheduler:
    """What one process serves. `hear` takes the frames of one read; everything else happens in the event loop."""

    def __init__(
        self,
        serving: PathServing,
        outgoing: Outgoing,
        *,
        failures: Failures,
        set_faults: ReplaceFaults,
        on_stop: Callable[[], None],
        sample_opening: Opening,
        timeout_s: float = 300.0,
    ) -> None:
        self._serving = serving
        self._outgoing = outgoing
        self._set_faults = set_faults
        self._on_stop = on_stop
        self._sample_opening = sample_opening
        self._timeout_s = timeout_s
        self._held: dict[int, OpenSession] = {}
        self._running: dict[int, RunningMessage] = {}
        self._stray: set[RunningMessage] = set()
        self._fresh: list[RunningMessage] = []
        self._checks: set[asyncio.Task[None]] = set()
        self._starts: set[asyncio.Task[None]] = set()
        self._retiring = ClosingSupervisors()
        self._execution = Execution(serving, outgoing, failures, self._ended)
        self._loop = asyncio.get_running_loop()
        self._tick_s = min(1.0, timeout_s / 10)
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    @property
    def sessions(self) -> int:
        """Sessions that can still produce events: the open ones, and closed ones whose message has not ended yet."""
        return len(self._held) + len(self._stray)

    def hear(self, frames: list[ToWorker]) -> None:
        """Do what these frames say, in order. No message of them is touched before the kernel has their `Started`."""
        for frame in frames:
            if isinstance(frame, Run):
                self._accept(frame)
            elif isinstance(frame, Open):
                self._open(frame)
            elif isinstance(frame, Close):
                for key, epoch in frame.sessions:
                    self._close(key, epoch)
            elif isinstance(frame, Ping):
                self._outgoing.send(Pong(frame.count, self.sessions, len(self._running) + len(self._stray)))
            elif isinstance(frame, Cancel):
                self._cancel(frame)
            elif isinstance(frame, Barrier):
                if self._fresh:
                    self._start_fresh()  # after all that was sent before it
                self._outgoing.send(BarrierPassed(frame.count, self.sessions))
                self._outgoing.flush()  # before the supervisors of closed sessions are closed, which may take a while
            else:
                self._hear_rare(frame)
        if self._fresh:
            self._start_fresh()

    def _hear_rare(self, frame: Check | SetFaults | Stop) -> None:
        if isinstance(frame, Check):
            self._keep(self._checks, self._check(frame.count, frame.document))
        elif isinstance(frame, SetFaults):
            self._set_faults(frame.faults)
        else:
            self._on_stop()

    async def stop(self, grace_s: float) -> None:
        """Cancel what runs and close all supervisors, for at most this long; nothing is answered."""
        self._timer.cancel()
        for held in list(self._held.values()):
            self._close(held.key, held.epoch)
        try:
            async with asyncio.timeout(grace_s):
                while tasks := [running.task for running in self._stray if running.task]:
                    await asyncio.wait(tasks)
                await self._retiring.finished()
        except TimeoutError:
            pass

    def _open(self, frame: Open) -> None:
        if frame.session in self._held:
            self._close(frame.session, self._held[frame.session].epoch)
        opening = Opening(
            frame.connection_id, frame.user_id, frame.thread_id, frame.connected_at, transport=frame.transport
        )
        self._held[frame.session] = OpenSession(frame.session, frame.epoch, opening, frame.document)

    def _close(self, key: int, epoch: int) -> None:
        held = self._held.get(key)
        if held is None or held.epoch != epoch:
            return
        del self._held[key]
        running = self._running.pop(key, None)
        if running is None:
            self._retiring.add(held.take_supervisor())
            return
        running.closed = True
        if running.announced:
            self._stray.add(running)
            running.cancel("closed")

    def _accept(self, frame: Run) -> None:
        held = self._held.get(frame.session)
        if held is None or held.epoch != frame.epoch:
            return  # fenced meanwhile: the gateway closed that epoch and expects nothing of it
        running = RunningMessage(held, frame, perf_counter())
        if frame.session in self._running:
            self._execution.refuse(running)
            return
        self._running[frame.session] = running
        self._fresh.append(running)

    def _start_fresh(self) -> None:
        fresh = [running for running in self._fresh if not (running.closed or running.why)]
        self._fresh.clear()
        for running in fresh:
            running.announced = True
            run = running.run
            self._outgoing.send(Started(run.session, run.epoch, run.number))
        if self._outgoing.flush():
            self._touch(fresh)
        else:
            self._keep(self._starts, self._touch_later(fresh))

    async def _touch_later(self, fresh: list[RunningMessage]) -> None:
        await self._outgoing.drained()
        self._touch(fresh)

    def _touch(self, fresh: list[RunningMessage]) -> None:
        create_task, execute = self._loop.create_task, self._execution.execute
        for running in fresh:
            running.task = create_task(execute(running))

    def _cancel(self, frame: Cancel) -> None:
        running = self._running.get(frame.session)
        if running is None or running.run.epoch != frame.epoch or running.run.number != frame.number:
            return
        running.cancel("stopped")
        if not running.announced:
            del self._running[frame.session]
            self._execution.stopped_untouched(running)

    def _ended(self, running: RunningMessage) -> None:
        """The task of this message is over; its terminal event was sent, unless its session is closed."""
        self._stray.discard(running)
        if running.given_up:
            self._retiring.add(running.supervisor)
        elif running.closed:
            self._retiring.add(running.held.take_supervisor())
        elif self._running.get(running.held.key) is running:
            del self._running[running.held.key]

    def _tick(self) -> None:
        """End what runs too long: cancelled first, given up `FORCE_S` later. Messages lie here oldest first."""
        self._timer = self._loop.call_later(self._tick_s, self._tick)
        now = perf_counter()
        for running in list(self._running.values()):
            age_s = now - running.at
            if age_s < self._timeout_s:
                break
            if running.why is None:
                running.cancel("timeout")
            elif running.why == "timeout" and age_s >= self._timeout_s + FORCE_S:
                del self._running[running.held.key]
                self._stray.add(running)
                self._execution.give_up(running)

    async def _check(self, count: int, document: bytes) -> None:
        self._outgoing.send(await check(self._serving, self._sample_opening, count, document))

    def _keep(self, tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
