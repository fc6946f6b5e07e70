"""A new build of v3 beside the old one: started, checked, given the sessions; then the old one ends.

Knows workers' handles and the cell; who may do this and when is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from app.control.ports import Loaded
from app.errors import FactoryError, StateIncompatible
from app.gateway.cell import Cell
from rollout.names import CANARY, STABLE

if TYPE_CHECKING:
    from app.paths.handle import WorkerHandle
    from app.paths.hosts import PathHosts

LOOK_S = 0.02


class Builds:
    """The builds of a cell. One load at a time."""

    def __init__(self, hosts: PathHosts, cell: Cell) -> None:
        self._hosts = hosts
        self._cell = cell
        self._loading = asyncio.Lock()
        self._checked: tuple[int, int] | None = None

    async def load(self, factory: str = "", python: str = "", build: str | None = None) -> Loaded:
        """Replace v3's worker without closing a socket. What is not given stays as it is.

        Raises `FactoryError` when the new worker does not start, `StateIncompatible` when it cannot go on from
        the sessions' documents or v2 could not take them back. Nothing has changed then.
        """
        async with self._loading:
            host = self._hosts[CANARY]
            candidate = await host.spawn_candidate(factory, python, build)
            try:
                await self._check(candidate)
                begun_at = monotonic()
                moved = len(self._cell.registry.on[CANARY])
                old = host.adopt(candidate)
            except BaseException:
                await host.stop_worker(candidate)
                raise
            if old is not None:
                while old.alive and self._cell.holds(old):  # noqa: ASYNC110 - as long as its longest message
                    await asyncio.sleep(LOOK_S)
                seconds = monotonic() - begun_at
                await host.stop_worker(old)
                return Loaded(build=candidate.build, previous_build=old.build, sessions_moved=moved, seconds=seconds)
            return Loaded(
                build=candidate.build, previous_build=None, sessions_moved=moved, seconds=monotonic() - begun_at
            )

    async def check_way_back(self) -> str | None:
        """Why v2 could not take over v3's sessions with their state, for a person; None: it can.

        v2 restores a sample that v3 made. Asked before a percentage above 0 is accepted; kept per pair of workers.
        """
        stable, canary = self._hosts[STABLE].worker, self._hosts[CANARY].worker
        if stable is None or canary is None or self._checked == (stable.pid, canary.pid):
            return None
        try:
            await self._restores(stable, canary.sample, f"v2 cannot restore the state of v3's build {canary.build}")
        except StateIncompatible as error:
            return str(error)
        self._checked = (stable.pid, canary.pid)
        return None

    async def _check(self, candidate: WorkerHandle) -> None:
        # Samples, not a customer's document: a document is refused for anybody but its user.
        old, stable = self._hosts[CANARY].worker, self._hosts[STABLE].worker
        sample = (old.sample if old is not None else None) or (stable.sample if stable is not None else None)
        await self._restores(candidate, sample, "the new build cannot restore the state of the sessions it would get")
        if stable is not None:
            await self._restores(stable, candidate.sample, "v2 cannot restore the state of the new build")

    @staticmethod
    async def _restores(worker: WorkerHandle, document: bytes | None, otherwise: str) -> None:
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
