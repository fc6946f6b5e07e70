"""The process around a `Scheduler`: loads the path, says `Ready`, and ends with its gateway.

It knows one path, and nothing of clients or of the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from app.errors import CrossfadeError
from app.link.config import WorkerConfig
from app.link.frames import Failed, Ready, ToWorker
from app.link.link import Link
from app.link.parent_death import die_with
from app.link.preamble import receive_config
from app.link.spawn import outlive_signals
from app.process_title import set_process_title
from app.supervisor.contract import PathServing
from app.supervisor.faults import Faults, plan_of
from app.supervisor.loading import load_path
from app.worker.checking import make_sample, scratch_opening
from app.worker.failures import Failures
from app.worker.logs import configure_logs
from app.worker.scheduler import Scheduler

STOP_S = 1.0
"""After `Stop`, running messages and supervisors may take so long to clean up."""
FAILED_STATUS = 3

_log = logging.getLogger("crossfade.worker")


def main(descriptor: int, make_room: Callable[[], None]) -> None:
    """Be the worker at the other end of this inherited descriptor; returns never, but for a gateway that is gone.

    `make_room` is called once, before people's code is imported: from then on nothing of ours can be imported.
    """
    outlive_signals()
    connected = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    try:
        config = receive_config(connected, WorkerConfig)
    except EOFError:
        return
    orphan = not die_with(config.parent_pid)
    set_process_title(f"worker {config.path} {config.build or ''}".rstrip())
    configure_logs(config.path, os.getpid(), config.log_level)
    if config.nice:
        os.nice(config.nice)
    asyncio.run(_live(connected, config, make_room, orphan=orphan))


async def _live(connected: socket.socket, config: WorkerConfig, make_room: Callable[[], None], *, orphan: bool) -> None:
    # The loop's list of living generators is for its orderly end, which this process never has; two are made a message.
    sys.set_asyncgen_hooks(firstiter=None)
    await _Process(connected, config, make_room).live(orphan=orphan)


class _Process:
    """One worker from its start to its end."""

    def __init__(self, connected: socket.socket, config: WorkerConfig, make_room: Callable[[], None]) -> None:
        self._config = config
        self._make_room = make_room
        self._worker: Scheduler | None = None
        self._faults = Faults()
        self._stop = asyncio.Event()
        self._link: Link[ToWorker] = Link(
            connected, ToWorker, on_frames=self._hear, on_closed=lambda error: self._leave(1 if error else 0)
        )

    async def live(self, *, orphan: bool) -> None:
        """Start, then serve until the process ends."""
        try:
            if orphan:
                raise CrossfadeError(f"{sys.executable} put a process between the gateway and the worker")
            await self._start()
        except Exception as error:
            known = isinstance(error, CrossfadeError)
            reason = _one_line(str(error) if known else f"{type(error).__name__}: {error}")
            if not known:  # what is known the gateway says, in one line
                _log.error("worker not started: %s", reason, exc_info=error)
            self._link.send(Failed(reason))
            await self._link.drained()
            self._leave(FAILED_STATUS)
        await self._stop.wait()
        if self._worker is not None:
            await self._worker.stop(STOP_S)
        self._leave(0)

    async def _start(self) -> None:
        config = self._config
        serving: PathServing = load_path(
            config.factory,
            config.path,
            thread_secret=config.thread_secret,
            agent=config.agent,
            faults=self._faults,
            build=config.build,
            make_room=self._make_room,
        )
        outlive_signals()  # whatever handlers people's code has set when it was imported
        set_process_title(f"worker {config.path} {serving.build}")
        opening = scratch_opening(config.thread_secret)
        sample = await make_sample(serving, opening)
        self._set_faults(config.faults)  # only now: a drill is for users' messages, not for the start
        self._worker = Scheduler(
            serving,
            self._link,
            failures=Failures(frozenset({config.factory.partition(".")[0].partition(":")[0]})),
            set_faults=self._set_faults,
            on_stop=self._stop.set,
            sample_opening=opening,
            timeout_s=config.message_timeout_s,
        )
        _calm_collector()
        self._link.send(Ready(os.getpid(), serving.build, serving.exports_state, sample))

    def _hear(self, frames: list[ToWorker]) -> None:
        if self._worker is not None:  # a gateway says nothing before it has heard Ready
            self._worker.hear(frames)

    def _set_faults(self, faults: dict[str, float | int | str | bool]) -> None:
        self._faults.replace(plan_of(faults))

    def _leave(self, status: int) -> NoReturn:
        """End the process now. Not `sys.exit`: a supervisor's threads and handlers must not keep it alive."""
        self._link.flush()
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            sys.stderr.flush()
        os._exit(status)


def _calm_collector() -> None:
    """What was made until now stays; sessions make no cycles of their own, so collections may be rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:1000]
