"""One worker process as its gateway sees it: started, watched, talked to, ended, and its death explained."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from app.errors import CrossfadeError, FactoryError, HostShortage, LinkError
from app.link.config import WorkerConfig
from app.link.frames import (
    Barrier,
    BarrierPassed,
    Check,
    Checked,
    Failed,
    FromWorker,
    Ping,
    Pong,
    Ready,
    Stop,
    ToWorker,
    Traffic,
)
from app.link.link import Link
from app.pool.death import Death, DownReason, explain
from app.pool.exits import watch_exit
from app.pool.launch import launch
from app.pool.liveness import Heartbeat
from app.pool.memory import ProportionalShare, WorkerMemory, read_rss, read_share, share_thread

MEMORY_S = 0.25
SHARE_S = 5.0
LINGER_S = 1.0
"""A worker that closed its link may take so long to end."""
Answer = TypeVar("Answer")
_CONTROL = frozenset({Ready, Failed, Pong, BarrierPassed, Checked})


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What a worker may do before it is ended; times in seconds, memory in resident bytes (0: no limit)."""

    start_s: float
    ping_s: float
    hang_s: float
    unstarted_s: float
    memory_bytes: int


class WorkerHandle:
    """See the module. It calls `on_frames(frames)` and, once and last, `on_gone(worker, death)`."""

    def __init__(
        self,
        config: WorkerConfig,
        python: str,
        limits: WorkerLimits,
        *,
        on_frames: Callable[[list[Traffic]], None],
        on_gone: Callable[[WorkerHandle, Death], None],
        oldest_unstarted_s: Callable[[WorkerHandle], float],
    ) -> None:
        """Start the process; call it in the thread of the event loop.

        When there is none: raises `HostShortage`, which is no fault of the path, or `FactoryError`.
        """
        self.config = config
        self.python = python
        self.restarts = 0
        """How many workers of this path were started after a death, this one included."""
        self.sessions = 0
        """That it holds, by its last answer to a ping."""
        self.memory = WorkerMemory()
        self.death: Death | None = None
        """Why it is gone, or will be in a moment."""
        self._limits = limits
        self._on_frames = on_frames
        self._on_gone = on_gone
        self._oldest_unstarted_s = oldest_unstarted_s
        self._loop = asyncio.get_running_loop()
        self._ready_frame: Ready | None = None
        self._ready_or_gone = asyncio.Event()
        self._gone = asyncio.Event()
        self._ready_at: float | None = None
        self._heartbeat = Heartbeat(limits.ping_s, limits.hang_s, limits.unstarted_s)
        self._counter = itertools.count(1)
        self._barriers: dict[int, asyncio.Future[int]] = {}
        self._checks: dict[int, asyncio.Future[Checked]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        try:
            self._process, connected = launch(config, python)
        except OSError as error:
            raise FactoryError(f"{config.path}: cannot start {python or 'the interpreter'}: {error.strerror}") from None
        self.pid = self._process.pid
        self._reading: asyncio.Future[ProportionalShare | None] | None = None
        """Its share of memory, which is being measured."""
        self._link = self._watched(self._process, connected)
        self._watch_memory()

    def _watched(self, process: subprocess.Popen[bytes], connected: socket.socket) -> Link[FromWorker]:
        """Watch the new process and read its link. Raises `HostShortage`; the process is gone then."""
        try:
            link: Link[FromWorker] = Link(connected, FromWorker, on_frames=self._on_batch, on_closed=self._link_ended)
            try:
                watch_exit(process, self._exited)
            except BaseException:
                link.close()
                raise
        except (OSError, RuntimeError) as error:
            process.kill()
            process.wait()
            connected.close()
            raise HostShortage(f"this machine cannot watch a process: {error}") from None
        return link

    # -- for its pool and its gateway ---------------------------------------------------------------------------------

    @property
    def build(self) -> str:
        return self._ready_frame.build if self._ready_frame else ""

    @property
    def exports_state(self) -> bool:
        return self._ready_frame is not None and self._ready_frame.exports_state

    @property
    def sample(self) -> bytes | None:
        """A state document made after a short exchange, for `check` on the other path."""
        return self._ready_frame.sample if self._ready_frame else None

    @property
    def memory_bytes(self) -> int | None:
        """Its proportional share of memory, or the resident size until that was measured."""
        return self.memory.share.pss_bytes if self.memory.share else self.memory.rss_bytes

    @property
    def session_memory_bytes(self) -> float | None:
        """Memory above what it had before its first session, per session; None: unknown, or no session."""
        return self.memory.session_bytes(self.sessions)

    @property
    def alive(self) -> bool:
        return not self._gone.is_set()

    @property
    def uptime_s(self) -> float:
        """Seconds since it was ready; 0 before."""
        return 0.0 if self._ready_at is None else self._loop.time() - self._ready_at

    def serve(self, restarts: int) -> None:
        """It serves its path from now on; `restarts`: workers of the path that were started after a death so far."""
        self.restarts = restarts

    async def ready(self) -> None:
        """Wait until it serves. Raises `FactoryError` with the reason when it does not in time; it is gone then."""
        try:
            async with asyncio.timeout(self._limits.start_s):
                await self._ready_or_gone.wait()
        except TimeoutError:
            self.kill("start_failed", f"not ready within {self._limits.start_s:g} s")
        except asyncio.CancelledError:
            self.kill("replaced", "its start was cancelled")
            raise
        if self.death is not None:
            await self._gone.wait()
            raise FactoryError(f"{self.config.path}: {self.death.detail}")

    def send(self, frame: ToWorker) -> None:
        """Queue one frame; those of one loop turn leave together. Does nothing when the worker is gone."""
        self._link.send(frame)

    async def barrier(self, timeout_s: float) -> int:
        """Sessions the worker still held after all that was sent before. Raises `TimeoutError`, `ConnectionError`."""
        count = next(self._counter)
        return await self._request(self._barriers, count, Barrier(count), timeout_s)

    async def check(self, document: bytes, timeout_s: float = 10.0) -> Checked:
        """Whether this worker can go on from that document. Raises `TimeoutError`, `ConnectionError`."""
        count = next(self._counter)
        return await self._request(self._checks, count, Check(count, document), timeout_s)

    def kill(self, reason: DownReason, detail: str) -> None:
        """End it at once; the first reason given stands. What it sent before is still handed over."""
        if self.death is None:
            self.death = Death(reason, detail)
        if self.alive:
            self._process.kill()

    async def stop(self, grace_s: float) -> None:
        """End it: by `Stop`, and SIGKILL after the grace, or at once before it is ready. Returns when it is gone."""
        if self.death is None:
            self.death = Death("replaced", "stopped")
        if self.alive and self._ready_frame is None:
            self._process.kill()
        elif self.alive:
            self._link.send(Stop())
            try:
                async with asyncio.timeout(grace_s):
                    await self._gone.wait()
            except TimeoutError:
                self._process.kill()
        await self._gone.wait()

    # -- what the worker sends ----------------------------------------------------------------------------------------

    def _on_batch(self, frames: list[FromWorker]) -> None:
        self._heartbeat.heard()
        control = [frame for frame in frames if type(frame) in _CONTROL]
        traffic = frames if not control else [frame for frame in frames if type(frame) not in _CONTROL]
        if traffic:
            try:
                self._on_frames(cast("list[Traffic]", traffic))
            except CrossfadeError as error:
                self.kill("crashed", f"broke the protocol: {error}")
        for frame in control:
            self._on_control(frame)

    def _on_control(self, frame: FromWorker) -> None:
        if isinstance(frame, Pong):
            self.sessions = frame.sessions
        elif isinstance(frame, BarrierPassed):
            _resolve(self._barriers, frame.count, frame.sessions)
        elif isinstance(frame, Checked):
            _resolve(self._checks, frame.count, frame)
        elif isinstance(frame, Ready):
            if self._ready_frame is None:
                self._ready_frame = frame
                self._ready_or_gone.set()
                self._ready_at = self._loop.time()
                self.memory.rss_bytes = read_rss(self.pid)
                self._later("tick", self._limits.ping_s, self._tick)
                self._watch_share()
        elif isinstance(frame, Failed):
            self.kill("start_failed", frame.reason)

    def _link_ended(self, error: LinkError | None) -> None:
        if error is not None:
            self.kill("crashed", str(error))
        else:
            self._later("linger", LINGER_S, lambda: self.kill("crashed", "closed its link"))

    async def _request(
        self, pending: dict[int, asyncio.Future[Answer]], count: int, frame: ToWorker, timeout_s: float
    ) -> Answer:
        if not self.alive:
            raise ConnectionError(f"the worker of {self.config.path} is gone")
        answer = pending[count] = self._loop.create_future()
        self._link.send(frame)
        try:
            async with asyncio.timeout(timeout_s):
                answered: Answer = await answer
                return answered
        finally:
            del pending[count]

    # -- what the gateway watches -------------------------------------------------------------------------------------

    def _later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        if self.alive:
            self._timers[name] = self._loop.call_later(seconds, call)

    def _tick(self) -> None:
        self._link.read()  # a worker is not hung because its bytes were not read yet
        verdict = self._heartbeat.tick(self._loop.time(), self._oldest_unstarted_s(self))
        if verdict is not None:
            self.kill("hung", verdict)
            return
        self._link.send(Ping(next(self._counter)))
        self._later("tick", self._limits.ping_s, self._tick)

    def _watch_memory(self) -> None:
        resident = self.memory.rss_bytes = read_rss(self.pid)
        limit = self._limits.memory_bytes
        if limit and resident is not None and resident > limit:
            self.kill("memory", f"{resident} resident bytes (limit {limit})")
        self._later("memory", MEMORY_S, self._watch_memory)

    def _watch_share(self) -> None:
        def measured(reading: asyncio.Future[ProportionalShare | None]) -> None:
            if reading.cancelled() or reading.exception() is not None or reading.result() is None:
                return
            self.memory.share = reading.result()
            self.memory.baseline = self.memory.baseline or reading.result()

        # Reading waits while the process changes its mappings. One that waits for long is not asked again meanwhile.
        if self._reading is None or self._reading.done():
            self._reading = share_thread.submit(partial(read_share, self.pid))
            self._reading.add_done_callback(measured)
        self._later("share", SHARE_S, self._watch_share)

    def _exited(self, status: int) -> None:
        self._link.read()  # the kernel keeps what a dead process has sent
        self._link.close()
        for timer in self._timers.values():
            timer.cancel()
        gone = ConnectionError(f"the worker of {self.config.path} is gone")
        for sessions in self._barriers.values():
            if not sessions.done():
                sessions.set_exception(gone)
        for checked in self._checks.values():
            if not checked.done():
                checked.set_exception(gone)
        if self.death is None:
            death = explain(status)
            self.death = death if self._ready_frame else Death("start_failed", f"{death.detail} before it was ready")
        self._gone.set()
        self._ready_or_gone.set()
        self._on_gone(self, self.death)


def _resolve(pending: dict[int, asyncio.Future[Answer]], count: int, answer: Answer) -> None:
    waiting = pending.get(count)  # none: whoever waited has given up
    if waiting is not None and not waiting.done():
        waiting.set_result(answer)
