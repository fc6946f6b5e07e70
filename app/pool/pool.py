"""The workers of one path: the first start, restarts with a back-off, the change to another build."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from app.errors import FactoryError, HostShortage
from app.link.config import WorkerConfig
from app.link.frames import SetFaults, Traffic
from app.pool.death import Death
from app.pool.handle import WorkerHandle, WorkerLimits
from app.pool.liveness import BackOff, Restarts
from app.pool.ports import PathEvents
from rollout.builds import Served

STOP_S = 2.0
SHORTAGE_S = 0.25
"""Seconds between two starts while the machine has nothing left for a process."""
CANDIDATE_TRIES = 8
"""So often a new build is tried then, before the person who loads it is told."""

_log = logging.getLogger("crossfade.pool")


@dataclass(frozen=True, slots=True)
class RestartRules:
    """When a path is started again, and when it stays down: after `crash_limit` deaths within `crash_window_s` seconds.

    None: it never does.
    """

    back_off: BackOff
    crash_limit: int | None
    crash_window_s: float


class WorkerPool:
    """One path. Use it in the event loop's thread; `events` is told what changes."""

    def __init__(
        self, config: WorkerConfig, python: str, limits: WorkerLimits, rules: RestartRules, events: PathEvents
    ) -> None:
        self.path = config.path
        self.restarts = 0
        """Workers started after a death."""
        self._config = config
        self._python = python
        self._limits = limits
        self._rules = rules
        self._events = events
        self._restart_rule = Restarts(rules.back_off, rules.crash_limit, rules.crash_window_s)
        self._serving: WorkerHandle | None = None
        self._handles: set[WorkerHandle] = set()
        self._up: set[WorkerHandle] = set()
        self._restarting: asyncio.Task[None] | None = None
        self._stopping = False
        self._shortage = ""
        self._loop = asyncio.get_running_loop()

    @property
    def worker(self) -> WorkerHandle | None:
        """The worker that serves the path now."""
        return self._serving

    async def start(self, served: Served | None = None) -> None:
        """Start the first worker, from what is said here or in the configuration.

        Raises `FactoryError` with the reason; nothing is tried again by itself then. While the machine has nothing
        left for a process it is tried for as long as a start may take.
        """
        if served is not None:
            self._config, self._python = self._config_for(served), served.source.python
        tries = max(1, round(self._limits.start_s / SHORTAGE_S))
        try:
            worker = await self._start_by(self._config, self._python, tries)
        except FactoryError as error:
            self._events.path_unavailable(self.path, str(error), self.restarts)
            raise
        self._serve(worker)

    async def stop(self, grace_s: float = STOP_S) -> None:
        """End all workers of the path: by `Stop`, and SIGKILL after the grace. `events` is not told."""
        self._stopping = True
        if self._restarting is not None:
            self._restarting.cancel()
        await asyncio.gather(*(worker.stop(grace_s) for worker in list(self._handles)))
        self._serving = None

    def reset(self) -> None:
        """A person wants it tried again: forget its deaths, and start a worker now unless one serves."""
        self._restart_rule.reset()
        if self._serving is None and not self._stopping:
            self._restart_after(0.0)

    # -- another build ------------------------------------------------------------------------------------------------

    async def spawn_candidate(self, served: Served) -> WorkerHandle:
        """A second worker, ready, that serves nobody yet: `check` it, then `adopt` it or `stop_worker` it.

        Raises `FactoryError` with the reason.
        """
        return await self._start_by(self._config_for(served), served.source.python, CANDIDATE_TRIES)

    def adopt(self, candidate: WorkerHandle) -> WorkerHandle | None:
        """Let it serve the path from now on, restarts included; returns the one that did.

        The old one lives on, so that its sessions can be handed over, until `stop_worker`. Raises `FactoryError`
        when the candidate died meanwhile.
        """
        if not candidate.alive or candidate.death is not None:
            raise FactoryError(f"{self.path}: the new worker is gone: {candidate.death and candidate.death.detail}")
        if self._restarting is not None:
            self._restarting.cancel()
        self._config, self._python = candidate.config, candidate.python
        self._restart_rule.reset()
        old, self._serving = self._serving, None
        self._serve(candidate)
        return old

    async def stop_worker(self, worker: WorkerHandle, grace_s: float = STOP_S) -> None:
        """End a candidate or an old worker; of an old one `events` is told that it was replaced."""
        if worker is self._serving:
            raise ValueError("that worker serves the path; adopt another first, or kill it")
        await worker.stop(grace_s)

    def set_faults(self, faults: dict[str, float | int | str | bool]) -> None:
        """Replace the faults of the path (drills), for later workers too."""
        self._config = msgspec.structs.replace(self._config, faults=faults)
        if self._serving is not None:
            self._serving.send(SetFaults(faults))

    # -- start, death, restart ----------------------------------------------------------------------------------------

    def _config_for(self, served: Served) -> WorkerConfig:
        return msgspec.structs.replace(self._config, factory=served.source.factory, build=served.build)

    async def _start_by(self, config: WorkerConfig, python: str, tries: int) -> WorkerHandle:
        """Start a worker; a shortage of the machine is waited out for so many tries. Raises `FactoryError`."""
        while True:
            try:
                return await self._start(config, python)
            except HostShortage as error:
                tries -= 1
                self._short(error)
                if tries <= 0:
                    raise FactoryError(f"{self.path}: {error}") from None
                await asyncio.sleep(SHORTAGE_S)

    def _short(self, error: HostShortage) -> None:
        """The machine has nothing left for a process: no death, and no fault of the path."""
        if str(error) == self._shortage:
            return
        self._shortage = str(error)
        _log.warning("worker not started: %s: %s; tried again", self.path, error)
        if self._serving is None:
            self._events.path_unavailable(self.path, f"{error}; tried again", self.restarts)

    async def _start(self, config: WorkerConfig, python: str) -> WorkerHandle:
        worker = WorkerHandle(
            config,
            python,
            self._limits,
            on_frames=self._deliver,
            on_gone=self._gone,
            oldest_unstarted_s=self._oldest_unstarted_s,
        )
        self._shortage = ""
        self._handles.add(worker)
        await worker.ready()
        return worker

    def _deliver(self, frames: list[Traffic]) -> None:
        self._events.path_frames(self.path, frames)

    def _oldest_unstarted_s(self, worker: WorkerHandle) -> float:
        return self._events.oldest_unstarted_s(self.path) if worker is self._serving else 0.0

    def _serve(self, worker: WorkerHandle) -> None:
        worker.serve(self.restarts)
        self._serving = worker
        self._up.add(worker)
        self._events.path_up(self.path, worker)

    def _gone(self, worker: WorkerHandle, death: Death) -> None:
        self._handles.discard(worker)
        if self._stopping or worker not in self._up:
            return
        self._up.discard(worker)
        if worker is self._serving:
            self._serving = None
            wait_s = self._next_start_s(death, worker.uptime_s)
            if wait_s is not None:
                self._restart_after(wait_s)
        _log.warning("worker gone: %s %s pid=%d: %s", self.path, death.reason, worker.pid, death.detail)
        self._events.path_down(self.path, worker, death)

    def _next_start_s(self, death: Death, uptime_s: float) -> float | None:
        """Seconds until the next start; None: the path stays down until it is reset. The gateway is told why."""
        reason = death.detail
        wait_s = self._restart_rule.died(self._loop.time(), uptime_s)
        if wait_s is None:
            limit, window_s = self._rules.crash_limit, self._rules.crash_window_s
            reason = f"died {limit} times in {window_s:g} s, the last time: {reason}"
        self._events.path_unavailable(self.path, reason, self.restarts)
        return wait_s

    def _restart_after(self, wait_s: float) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
        self._restarting = self._loop.create_task(self._restart(wait_s))

    async def _restart(self, first_wait_s: float) -> None:
        wait_s: float | None = first_wait_s
        while wait_s is not None:
            await asyncio.sleep(wait_s)
            try:
                worker = await self._start(self._config, self._python)
            except HostShortage as error:
                self._short(error)
                wait_s = SHORTAGE_S
            except FactoryError as error:
                _log.warning("worker not restarted: %s", error)
                wait_s = self._next_start_s(Death("start_failed", str(error)), 0.0)
            else:
                self.restarts += 1
                self._serve(worker)
                return
