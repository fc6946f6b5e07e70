"""A new build of v3: started and checked beside the one that serves, then given its sessions; then the old one ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING

from app.errors import FactoryError, StateIncompatible
from app.gateway.cell import Cell
from rollout.builds import BuildSource, Served
from rollout.names import CANARY, STABLE, PathName
from rollout.views import Loaded

if TYPE_CHECKING:
    from app.pool.handle import WorkerHandle
    from app.pool.pools import WorkerPools

POLL_S = 0.02


class CellBuilds:
    """Implements `app.control.ports.Builds` for one cell."""

    def __init__(self, pools: WorkerPools, cell: Cell) -> None:
        self._pools = pools
        self._cell = cell
        self._preparing: asyncio.Task[WorkerHandle] | None = None
        self._checked: tuple[int, int] | None = None
        self._started = asyncio.Event()

    async def start(self, served: Mapping[PathName, Served]) -> None:
        """Start these paths. Raises `FactoryError` when v2 does not start; a v3 that does not start is unavailable."""
        self._started.clear()
        try:
            await self._pools.start(served)
        finally:
            self._started.set()

    async def prepare(self, factory: str, python: str, build: str | None) -> str:
        """Start and check a worker beside the one that serves; the build's id. See `app.control.ports.Builds`.

        Raises `FactoryError` when the new worker does not start, or another one is waiting; `StateIncompatible` when it
        cannot continue from the sessions' documents, or v2 could not take them back. Nothing has changed then.
        """
        if self._preparing is not None:
            raise FactoryError("another build is being loaded")
        preparing = self._preparing = asyncio.create_task(self._candidate(factory, python, build))
        try:
            await asyncio.wait((preparing,))
        except asyncio.CancelledError:
            preparing.cancel()
            raise
        finally:
            failed = preparing.cancelled() or not preparing.done() or preparing.exception() is not None
            if failed and self._preparing is preparing:
                self._preparing = None
        if preparing.cancelled():
            raise FactoryError("the load was cancelled")
        return preparing.result().build

    async def adopt(self, factory: str, python: str, build: str) -> Loaded:
        """Hand v3's sessions over to what was prepared, without closing a socket, and end the old worker.

        One that has died since, or was never prepared, is prepared now. Raises as `prepare`.
        """
        if self._preparing is None or not (await self._preparing).alive:
            self._preparing = None
            await self.prepare(factory, python, build)
        assert self._preparing is not None  # else it has raised
        candidate = await self._preparing
        self._preparing = None
        begun_at = monotonic()
        moved = len(self._cell.index.on[CANARY])
        old = self._pools[CANARY].adopt(candidate)
        if old is not None:
            while old.alive and self._cell.uses(old):  # noqa: ASYNC110 - as long as its longest message
                await asyncio.sleep(POLL_S)
        seconds = monotonic() - begun_at
        if old is not None:
            await self._pools[CANARY].stop_worker(old)
        previous = None if old is None else old.build
        return Loaded(build=candidate.build, previous_build=previous, sessions_moved=moved, seconds=seconds)

    async def abandon(self) -> None:
        """End what was, or is being, prepared. Raises nothing."""
        preparing, self._preparing = self._preparing, None
        if preparing is None:
            return
        if preparing.done() and not preparing.cancelled() and preparing.exception() is None:
            await self._pools[CANARY].stop_worker(preparing.result())
        preparing.cancel()
        await asyncio.wait((preparing,))

    async def _candidate(self, factory: str, python: str, build: str | None) -> WorkerHandle:
        await self._started.wait()  # of two workers, the one that is loaded has to be the last to serve
        pool = self._pools[CANARY]
        candidate = await pool.spawn_candidate(Served(BuildSource(factory, python), build))
        try:
            await self._check(candidate)
        except BaseException:
            await pool.stop_worker(candidate)
            raise
        return candidate

    async def check_way_back(self) -> str | None:
        """Why v2 could not take over v3's sessions with their state, for a person; None: it can.

        v2 restores a sample that v3 made. The result is kept for this pair of workers.
        """
        stable, canary = self._pools[STABLE].worker, self._pools[CANARY].worker
        if stable is None or canary is None or self._checked == (stable.pid, canary.pid):
            return None
        try:
            await self._try_restore(stable, canary.sample, f"v2 cannot restore the state of v3's build {canary.build}")
        except StateIncompatible as error:
            return str(error)
        self._checked = (stable.pid, canary.pid)
        return None

    async def _check(self, candidate: WorkerHandle) -> None:
        # Samples, not a customer's document: a document is refused for anybody but its user.
        old, stable = self._pools[CANARY].worker, self._pools[STABLE].worker
        sample = (old.sample if old is not None else None) or (stable.sample if stable is not None else None)
        if not candidate.exports_state and not self._cell.index.on[CANARY]:
            sample = None  # v3 has no session whose state it would have to restore
        await self._try_restore(candidate, sample, "the new build cannot restore the state of v3's sessions")
        if stable is not None:
            await self._try_restore(stable, candidate.sample, "v2 cannot restore the state of the new build")

    @staticmethod
    async def _try_restore(worker: WorkerHandle, document: bytes | None, otherwise: str) -> None:
        if document is None:  # that build carries no state; the page says so
            return
        try:
            checked = await worker.check(document)
        except TimeoutError:
            raise StateIncompatible(f"{otherwise}: no answer") from None
        except ConnectionError as error:
            raise FactoryError(str(error)) from None
        if not checked.ok:
            raise StateIncompatible(f"{otherwise}: {checked.reason}")
