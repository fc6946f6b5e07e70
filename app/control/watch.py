"""Watches a rollback until it was seen complete, and writes down what was observed.

It reports nothing that the cell did not observe; must not know how a rollback is ordered or kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import time

import msgspec
import structlog

from app.control.ports import Cell, Sweep
from app.control.receipt import Receipt
from dashboards.views import ErrorGroup, PathFigures, Rollback
from rollout.state import LastRollback

log = structlog.get_logger()


class RollbackWatch:
    """The last rollback of this cell. `sweep_again` starts another sweep when something else overtook the last."""

    def __init__(
        self,
        cell: Cell,
        sweep_again: Callable[[], Sweep],
        keep: Callable[[Receipt], Awaitable[None]],
        clock: Callable[[], float] = time,
    ) -> None:
        self._cell = cell
        self._sweep_again = sweep_again
        self._keep = keep
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._sweep: Sweep | None = None
        self.receipt: Receipt | None = None

    def restore(self, receipt: Receipt) -> None:
        """Take up what an earlier process knew of the last rollback."""
        self.receipt = receipt

    def begin(
        self,
        last: LastRollback,
        sweep: Sweep,
        commanded_at: float | None,
        *,
        to_move: int,
        figures: list[PathFigures],
        errors: list[ErrorGroup],
        users_harmed: int,
    ) -> None:
        """Watch this rollback from `sweep` on; `commanded_at` (monotonic seconds) starts its clocks, None: no clocks.

        `to_move` is how many sessions were on v3 when it came. The same rollback again (it is idempotent) goes on with
        its first receipt.
        """
        self._sweep = sweep
        if self.receipt is None or self.receipt.rollback.id != last.id:
            self.receipt = Receipt(
                rollback=Rollback(
                    id=last.id,
                    at=last.at,
                    by=last.by,
                    reason=last.reason,
                    new_stopped_ms=None,
                    existing_moved_ms=None,
                    sessions_to_move=to_move,
                    sessions_moved=0,
                    closed=0,
                    interrupted=0,
                    verified_at=None,
                    cells=[self._cell.name],
                    silent_cells=[],
                ),
                from_percentage=last.place.percentage,
                users_harmed=users_harmed,
                errors_only_on_v3=errors,
                figures=figures,
            )
        elif self.receipt.rollback.verified_at is not None:
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._observe(commanded_at))

    def rename(self, last: LastRollback | None) -> None:
        """The rollback got its final id, because something was saved before it."""
        if last is not None and self.receipt is not None and self.receipt.rollback.at == last.at:
            rollback = msgspec.structs.replace(self.receipt.rollback, id=last.id)
            self.receipt = msgspec.structs.replace(self.receipt, rollback=rollback)

    async def stop(self) -> None:
        """Watch no longer: the rollback was lifted, or the service ends. What was not seen stays unverified."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _observe(self, commanded_at: float | None) -> None:
        moved = closed = interrupted = 0
        new_stopped_ms = existing_moved_ms = 0.0
        while True:
            sweep = self._sweep
            assert sweep is not None and self.receipt is not None  # `begin` set both
            report = await self._cell.verify(sweep)
            late_ms = 0.0 if commanded_at is None else (sweep.at - commanded_at) * 1000
            # An admission after a later sweep's beginning would show in that sweep's own clock.
            if report.new_stopped_ms > 0 or new_stopped_ms == 0:
                new_stopped_ms = late_ms + report.new_stopped_ms
            existing_moved_ms = late_ms + report.existing_moved_ms
            moved += report.sessions_moved
            closed += report.closed
            interrupted += report.interrupted
            if report.verified:
                break
            if self._sweep is sweep:
                self._sweep = self._sweep_again()
            await asyncio.sleep(0)
        self.receipt = msgspec.structs.replace(
            self.receipt,
            rollback=msgspec.structs.replace(
                self.receipt.rollback,
                new_stopped_ms=None if commanded_at is None else new_stopped_ms,
                existing_moved_ms=None if commanded_at is None else existing_moved_ms,
                sessions_moved=moved,
                closed=closed,
                interrupted=interrupted,
                verified_at=self._clock(),
            ),
        )
        log.info("rollback verified", id=self.receipt.rollback.id, existing_moved_ms=existing_moved_ms, moved=moved)
        await self._keep(self.receipt)
