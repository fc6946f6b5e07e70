"""A gateway for tests of the pools: it keeps what it is told and lets a test wait for it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.link.config import WorkerConfig
from app.link.frames import Done, Open, Run, RunEvent, Started, Traffic
from app.pool.death import Death
from app.pool.handle import WorkerHandle, WorkerLimits
from app.pool.liveness import CANARY_BACK_OFF, STABLE_BACK_OFF
from app.pool.pool import RestartRules, WorkerPool
from app.supervisor.threads import new_thread_id
from rollout.names import PathName

SECRET = b"a secret of the tests, 32 bytes.."
PATIENCE_S = 30


class Recorder:
    """`PathEvents` that remembers."""

    def __init__(self) -> None:
        self.frames: list[Traffic] = []
        self.reads: list[int] = []
        self.ups: list[WorkerHandle] = []
        self.downs: list[tuple[WorkerHandle, Death]] = []
        self.unavailable: list[tuple[str, int]] = []
        """Reason and restarts, each time that nobody served."""
        self.order: list[str] = []
        self.unstarted_s = 0.0
        self._told = asyncio.Event()

    def path_up(self, path: PathName, worker: WorkerHandle) -> None:
        self.ups.append(worker)
        self.order.append("up")
        self._told.set()

    def path_frames(self, path: PathName, frames: list[Traffic]) -> None:
        self.frames += frames
        self.reads.append(len(frames))
        self.order.append("frames")
        self._told.set()

    def path_down(self, path: PathName, worker: WorkerHandle, death: Death) -> None:
        self.downs.append((worker, death))
        self.order.append("down")
        self._told.set()

    def path_unavailable(self, path: PathName, reason: str, restarts: int) -> None:
        self.unavailable.append((reason, restarts))
        self.order.append("unavailable")
        self._told.set()

    def oldest_unstarted_s(self, path: PathName) -> float:
        return self.unstarted_s

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._told.clear()
                await self._told.wait()

    async def started(self, session: int = 1) -> None:
        await self.until(lambda: any(isinstance(each, Started) and each.session == session for each in self.frames))

    async def done(self, session: int = 1, number: int = 1) -> Done:
        found: list[Done] = []

        def ended() -> bool:
            found[:] = [
                each
                for each in self.frames
                if isinstance(each, Done) and (each.session, each.number) == (session, number)
            ]
            return bool(found)

        await self.until(ended)
        return found[0]

    def content_of(self, frame: Done | RunEvent) -> object:
        return json.loads(b"{" + frame.body)["payload"].get("content")


def config_of(**changes: object) -> WorkerConfig:
    values: dict[str, object] = {
        "path": "v3",
        "factory": "builtin",
        "agent": "echo",
        "thread_secret": SECRET,
        "parent_pid": os.getpid(),
        "log_level": "error",
    }
    return WorkerConfig(**(values | changes))  # type: ignore[arg-type]


def limits_of(
    start_s: float = PATIENCE_S,
    ping_s: float = 0.05,
    hang_s: float = PATIENCE_S,
    unstarted_s: float = PATIENCE_S,
    memory_bytes: int = 0,
) -> WorkerLimits:
    """Patient unless a test says otherwise: machines that run tests are busy."""
    return WorkerLimits(start_s, ping_s, hang_s, unstarted_s, memory_bytes)


@asynccontextmanager
async def hosting(
    recorder: Recorder,
    limits: WorkerLimits | None = None,
    crash_limit: int | None = None,
    python: str = "",
    start: bool = True,
    **config: object,
) -> AsyncIterator[WorkerPool]:
    """A pool whose first worker is up, ended afterwards."""
    of_path = config_of(**config)
    back_off = STABLE_BACK_OFF if of_path.path == "v2" else CANARY_BACK_OFF
    pool = WorkerPool(of_path, python, limits or limits_of(), RestartRules(back_off, crash_limit, 600), recorder)
    try:
        if start:
            await pool.start()
        yield pool
    finally:
        await pool.stop()


def serving(pool: WorkerPool) -> WorkerHandle:
    assert pool.worker is not None
    return pool.worker


def opened(session: int = 1, epoch: int = 1, document: bytes | None = None) -> Open:
    user = f"user-{session}"
    return Open(session, epoch, f"c-{session}", user, new_thread_id(user, SECRET), 0.0, "websocket", document)


def chat(content: str, session: int = 1, number: int = 1, epoch: int = 1) -> Run:
    body = json.dumps({"type": "chat", "payload": {"content": content}}).encode()
    return Run(session, epoch, number, f"m-{number}", body)
