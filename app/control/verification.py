"""Watches a rollback until it was seen complete in every cell, and writes down what was observed.

Each cell observes itself and tells the others its part; one cell leads and puts the parts together. It reports nothing
that no cell has observed; must not know how a rollback is ordered or kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time

import msgspec
import structlog

from app.control.notifier import Notifier
from app.control.ports import CellPort
from app.control.receipt import Receipt, add_up, begin_receipt
from app.control.repository import Repository
from app.control.state import State
from app.fleet.bus import CellReport, ReceiptSeen
from app.fleet.members import Fleet
from app.gateway.sweep import Sweep
from app.metrics.counters import Counters
from rollout.names import CANARY
from rollout.state import LastRollback, Rollout
from rollout.views import PathFigures, RollbackView

log = structlog.get_logger()


@dataclass(slots=True)
class _HeardReport:
    """A cell's part, and when it was heard (monotonic seconds) to be in force there, and to be done."""

    part: CellReport
    in_force_at: float
    done_at: float | None = None


@dataclass(slots=True)
class _Watched:
    """What this cell does about the rollback in force."""

    leader: str
    """The cell that was given the command; empty: it is gone, or not known here."""
    commanded_at: float | None
    """Monotonic seconds of this cell; None: it was not this cell, so there are no clocks."""
    before: RollbackView
    """What was known of it when the watch began; an earlier process may have counted more."""
    sweep: Sweep


class Verification:
    """The last rollback, as far as this cell knows. `clock` gives Unix seconds."""

    def __init__(
        self,
        *,
        cell: CellPort,
        fleet: Fleet,
        state: State,
        counters: Counters,
        repository: Repository,
        notifier: Notifier,
        own_report: asyncio.Event,
        clock: Callable[[], float] = time,
    ) -> None:
        """`own_report` is set whenever this cell has observed more."""
        self._cell = cell
        self._fleet = fleet
        self._state = state
        self._counters = counters
        self._repository = repository
        self._notifier = notifier
        self._own_report = own_report
        self._clock = clock
        self._watched: _Watched | None = None
        self._told: dict[str, _HeardReport] = {}
        self._task: asyncio.Task[None] | None = None
        self.receipt: Receipt | None = None

    @property
    def own_part(self) -> CellReport | None:
        """What this cell has observed of the rollback in force."""
        told = self._told.get(self._fleet.name)
        return None if told is None else told.part

    @property
    def complete(self) -> bool:
        """Whether there is nothing that other cells have to be heard about."""
        return self._watched is None or self.receipt is None or self.receipt.rollback.verified_at is not None

    def waits_for(self) -> set[str]:
        """The cells without which the rollback in force is not complete; with all reports in, the one that adds up."""
        if self.complete:
            return set()
        reports = self._parts()
        missing = {name for name in self._fleet.names() if name not in reports or not reports[name].part.done}
        return missing or {self._leader()}

    def restore(self, receipt: Receipt) -> None:
        """Take up what an earlier process knew of the last rollback."""
        self.receipt = receipt

    def begin(
        self,
        record: Rollout,
        sweep: Sweep,
        commanded_at: float | None,
        *,
        to_move: int,
        leader: str = "",
        figures: list[PathFigures],
    ) -> None:
        """Observe the record's rollback from `sweep` on; `commanded_at` (monotonic seconds) starts its clocks.

        None: another cell was given the command, so there are no clocks here. `to_move` is how many sessions were on v3
        here when it came. The same rollback again (it is idempotent) goes on with its first receipt.
        """
        last = record.last_rollback
        assert last is not None  # a rollback was just made, or found
        receipt = self.receipt
        if receipt is None or receipt.rollback.id != last.id:
            receipt = self.receipt = begin_receipt(last, figures)
        same = self._watched is not None and self._watched.before.id == last.id
        if self._watched is not None and same:
            self._watched.sweep = sweep
        else:
            self._watched = _Watched(leader, commanded_at, receipt.rollback, sweep)
        if receipt.rollback.verified_at is not None:
            return
        if not same:
            errors = self._counters.errors.counts()
            self._tell(CellReport(last.id, to_move, 0, 0, 0, False, errors, leader), sweep.at)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._observe(to_move))

    def rename(self, last: LastRollback | None) -> None:
        """The rollback got its final id and beginning, because something was saved before it."""
        receipt, watched = self.receipt, self._watched
        if last is None or receipt is None or receipt.rollback.at != last.at:
            return
        if (receipt.rollback.id, receipt.from_percentage) == (last.id, last.place.percentage):
            return
        rollback = msgspec.structs.replace(receipt.rollback, id=last.id)
        self.receipt = msgspec.structs.replace(receipt, rollback=rollback, from_percentage=last.place.percentage)
        if watched is not None:
            watched.before = msgspec.structs.replace(watched.before, id=last.id)
        own = self._told.get(self._fleet.name)
        if own is not None:
            own.part = msgspec.structs.replace(own.part, rollback=last.id)
            self._fleet.bus.tell(own.part)
        self._put_together()

    async def stop(self) -> None:
        """Watch no longer: the rollback was lifted, or the service ends. What was not seen stays unverified."""
        task, self._task = self._task, None
        self._watched = None
        self._told.clear()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def keep(self, *, found: bool) -> None:
        """Keep the receipt under its final id; `found`: an earlier process may have seen this rollback complete.

        Raises StoreUnavailable.
        """
        receipt = self.receipt
        if receipt is None:
            return
        before = await self._repository.receipt(receipt.rollback.id) if found else None
        if before is not None and before.rollback.verified_at is not None:
            self.restore(before)
        else:
            self._repository.hold(receipt)

    def _hold(self, receipt: Receipt) -> None:
        """Keep what was seen; while the rollback itself is not saved its id may change, and `keep` follows."""
        self._notifier.tell()
        if self._state.pending is None:
            self._repository.hold(receipt)

    # -- what other cells say -----------------------------------------------------------------------------------------

    def hear(self, cell: str, part: CellReport) -> None:
        """Another cell's part."""
        told = self._told.get(cell)
        if told is not None and told.part == part:
            return
        watched = self._watched
        if watched is not None and not watched.leader and part.rollback == watched.before.id:
            watched.leader = part.leader if part.leader in self._fleet.names() else ""
        self._note(cell, part, monotonic())
        self._put_together()

    def hear_receipt(self, receipt: Receipt) -> None:
        """What the leader has put together so far."""
        mine = self.receipt
        if self._leads() and self._watched is not None:
            return
        if mine is None or mine.rollback.id != receipt.rollback.id or mine.rollback.verified_at is None:
            self.receipt = receipt
            self._notifier.tell()

    def present(self) -> None:
        """Cells came or went: whoever leads now has to know every part."""
        there = self._fleet.names()
        watched = self._watched
        if watched is None:
            return
        if watched.leader not in there:
            watched.leader = ""
        own = self._told.get(self._fleet.name)
        if own is not None and self.receipt is not None and self.receipt.rollback.verified_at is None:
            own.part = msgspec.structs.replace(own.part, leader=watched.leader)
            self._fleet.bus.tell(own.part)
        self._put_together()

    # -- what a page is told ------------------------------------------------------------------------------------------

    def rollback(self) -> RollbackView | None:
        """The last rollback; until it is verified, with the cells that have it and those that are waited for."""
        if self.receipt is None:
            return None
        rollback = self.receipt.rollback
        if rollback.verified_at is not None or self._watched is None:
            return rollback
        names = self._fleet.names()
        parts = self._parts()
        leader = self._watched.leader or names[0]
        waited = [
            name
            for name in names
            if name not in parts or ((name == leader or not parts[name].part.done) and self._fleet.silent(name))
        ]
        return msgspec.structs.replace(
            rollback,
            sessions_to_move=max(
                rollback.sessions_to_move, sum(self._to_move(name, parts.get(name)) for name in names)
            ),
            sessions_moved=max(rollback.sessions_moved, sum(self._left_v3(name, parts[name].part) for name in parts)),
            cells=[name for name in names if name in parts],
            silent_cells=waited,
        )

    def _to_move(self, cell: str, told: _HeardReport | None) -> int:
        """Sessions on v3 when the rollback came; of a cell that is not heard, those that it reported last."""
        if told is not None:
            return told.part.to_move
        figures = self._fleet.others().get(cell)
        return 0 if figures is None or figures.locked else figures.paths[CANARY].sessions

    def _left_v3(self, cell: str, part: CellReport) -> int:
        """Of the sessions that it had to move, those that were seen to be on v3 no longer."""
        if part.done:
            return part.moved
        if cell == self._fleet.name:
            return max(0, part.to_move - self._cell.path_state(CANARY).sessions)
        figures = self._fleet.others().get(cell)
        if figures is None or not figures.locked:
            return 0  # what it said last was before the rollback
        return max(0, part.to_move - figures.paths[CANARY].sessions)

    # -- this cell's part ---------------------------------------------------------------------------------------------

    async def _observe(self, to_move: int) -> None:
        moved = closed = interrupted = 0
        in_force_at: float | None = None
        while True:
            watched = self._watched
            assert watched is not None  # `begin` set it, and `stop` ends this first
            sweep = watched.sweep
            report = await self._cell.verify(sweep)
            # An admission after a later sweep's beginning would show in that sweep's own clock.
            if report.new_stopped_ms > 0 or in_force_at is None:
                in_force_at = sweep.at + report.new_stopped_ms / 1000
            moved += report.sessions_moved
            closed += report.closed
            interrupted += report.interrupted
            if report.verified:
                break
            if watched.sweep is sweep:
                watched.sweep = self._state.publish(rollback=True)
            await asyncio.sleep(0)
        begun = self._told.pop(self._fleet.name).part
        part = msgspec.structs.replace(
            begun, to_move=max(to_move, moved), moved=moved, closed=closed, interrupted=interrupted, done=True
        )
        self._tell(part, in_force_at, sweep.at + report.existing_moved_ms / 1000)

    def _tell(self, part: CellReport, in_force_at: float, done_at: float | None = None) -> None:
        self._fleet.bus.tell(part)
        self._note(self._fleet.name, part, in_force_at, done_at)
        self._own_report.set()
        self._put_together()

    def _note(self, cell: str, part: CellReport, in_force_at: float, done_at: float | None = None) -> None:
        told = self._told.get(cell)
        if told is None or told.part.rollback != part.rollback:
            told = self._told[cell] = _HeardReport(part, in_force_at)
        told.part = part
        if part.done and told.done_at is None:
            told.done_at = in_force_at if done_at is None else done_at

    # -- all parts together -------------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, _HeardReport]:
        receipt = self.receipt
        if receipt is None:
            return {}
        return {cell: told for cell, told in self._told.items() if told.part.rollback == receipt.rollback.id}

    def _leads(self) -> bool:
        """Whether this cell puts the parts together: the one that was given the command, or the first that is left."""
        return self._leader() == self._fleet.name

    def _leader(self) -> str:
        leader = self._watched.leader if self._watched is not None else ""
        return leader or self._fleet.names()[0]

    def _put_together(self) -> None:
        watched, receipt = self._watched, self.receipt
        if watched is None or receipt is None or receipt.rollback.verified_at is not None:
            return
        self._notifier.tell()
        if not self._leads():
            return
        names, parts = self._fleet.names(), self._parts()
        verified = all(name in parts and parts[name].part.done for name in names)
        cells = [name for name in names if name in parts]
        added = add_up(receipt, watched.before, [each.part for each in parts.values()], cells)
        if verified:
            rollback = msgspec.structs.replace(
                added.rollback,
                new_stopped_ms=self._clock_ms(watched, [each.in_force_at for each in parts.values()]),
                existing_moved_ms=self._clock_ms(watched, [each.done_at or 0.0 for each in parts.values()]),
                verified_at=self._clock(),
                silent_cells=[],
            )
            added = msgspec.structs.replace(added, rollback=rollback)
        self.receipt = added
        self._fleet.bus.tell(ReceiptSeen(msgspec.json.encode(self.receipt)))
        if verified:
            took_ms = added.rollback.existing_moved_ms
            log.info("rollback verified", id=added.rollback.id, cells=names, existing_moved_ms=took_ms)
            self._hold(added)

    @staticmethod
    def _clock_ms(watched: _Watched, at: list[float]) -> float | None:
        return None if watched.commanded_at is None else (max(at) - watched.commanded_at) * 1000
