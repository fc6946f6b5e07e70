"""Verifies a rollback: it is complete when every cell was seen to be empty of v3, and not before.

Each cell observes itself and sends the others its report; one cell leads and adds the reports up. Nothing is said that
no cell has observed.
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
class _Heard:
    """A cell's report, and when it was heard (monotonic seconds) to be in force there, and to be done."""

    report: CellReport
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
    """What was known of it when this cell began to observe; an earlier process may have counted more."""
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
        observed: asyncio.Event,
        clock: Callable[[], float] = time,
    ) -> None:
        """`observed` is set whenever this cell has observed more."""
        self._cell = cell
        self._fleet = fleet
        self._state = state
        self._counters = counters
        self._repository = repository
        self._notifier = notifier
        self._observed = observed
        self._clock = clock
        self._watched: _Watched | None = None
        self._reports: dict[str, _Heard] = {}
        self._task: asyncio.Task[None] | None = None
        self.receipt: Receipt | None = None

    @property
    def own_report(self) -> CellReport | None:
        """What this cell has observed of the rollback in force."""
        heard = self._reports.get(self._fleet.name)
        return None if heard is None else heard.report

    @property
    def complete(self) -> bool:
        """Whether there is nothing that other cells have to be heard about."""
        return self._watched is None or self.receipt is None or self.receipt.rollback.verified_at is not None

    def waits_for(self) -> set[str]:
        """The cells without which the rollback in force is not complete; with all reports in, the one that adds up."""
        if self.complete:
            return set()
        reports = self._known_reports()
        missing = {name for name in self._fleet.names() if name not in reports or not reports[name].report.done}
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
            self._publish(CellReport(last.id, to_move, 0, 0, 0, False, errors, leader), sweep.at)
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
        mine = self._reports.get(self._fleet.name)
        if mine is not None:
            mine.report = msgspec.structs.replace(mine.report, rollback=last.id)
            self._fleet.bus.tell(mine.report)
        self._add_up()

    async def stop(self) -> None:
        """Watch no longer: the rollback was lifted, or the service ends. What was not seen stays unverified."""
        task, self._task = self._task, None
        self._watched = None
        self._reports.clear()
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

    def hear(self, cell: str, report: CellReport) -> None:
        """Another cell's report."""
        heard = self._reports.get(cell)
        if heard is not None and heard.report == report:
            return
        watched = self._watched
        if watched is not None and not watched.leader and report.rollback == watched.before.id:
            watched.leader = report.leader if report.leader in self._fleet.names() else ""
        self._note(cell, report, monotonic())
        self._add_up()

    def hear_receipt(self, receipt: Receipt) -> None:
        """What the leader has added up so far."""
        known = self.receipt
        if self._leads() and self._watched is not None:
            return
        if known is None or known.rollback.id != receipt.rollback.id or known.rollback.verified_at is None:
            self.receipt = receipt
            self._notifier.tell()

    def present(self) -> None:
        """Cells came or went: whoever leads now has to know every report."""
        there = self._fleet.names()
        watched = self._watched
        if watched is None:
            return
        if watched.leader not in there:
            watched.leader = ""
        mine = self._reports.get(self._fleet.name)
        if mine is not None and self.receipt is not None and self.receipt.rollback.verified_at is None:
            mine.report = msgspec.structs.replace(mine.report, leader=watched.leader)
            self._fleet.bus.tell(mine.report)
        self._add_up()

    # -- what pages show ----------------------------------------------------------------------------------------------

    def rollback(self) -> RollbackView | None:
        """The last rollback; until it is verified, with the cells that have it and those that are waited for."""
        if self.receipt is None:
            return None
        rollback = self.receipt.rollback
        if rollback.verified_at is not None or self._watched is None:
            return rollback
        names = self._fleet.names()
        reports = self._known_reports()
        leader = self._watched.leader or names[0]
        waited = [
            name
            for name in names
            if name not in reports or ((name == leader or not reports[name].report.done) and self._fleet.silent(name))
        ]
        return msgspec.structs.replace(
            rollback,
            sessions_to_move=max(
                rollback.sessions_to_move, sum(self._to_move(name, reports.get(name)) for name in names)
            ),
            sessions_moved=max(
                rollback.sessions_moved, sum(self._left_v3(name, heard.report) for name, heard in reports.items())
            ),
            cells=[name for name in names if name in reports],
            silent_cells=waited,
        )

    def _to_move(self, cell: str, heard: _Heard | None) -> int:
        """Sessions on v3 when the rollback came; of a cell that is not heard, those that it reported last."""
        if heard is not None:
            return heard.report.to_move
        figures = self._fleet.others().get(cell)
        return 0 if figures is None or figures.locked else figures.paths[CANARY].sessions

    def _left_v3(self, cell: str, report: CellReport) -> int:
        """Of the sessions that it had to move, those that were seen to be on v3 no longer."""
        if report.done:
            return report.moved
        if cell == self._fleet.name:
            return max(0, report.to_move - self._cell.path_state(CANARY).sessions)
        figures = self._fleet.others().get(cell)
        if figures is None or not figures.locked:
            return 0  # what it said last was before the rollback
        return max(0, report.to_move - figures.paths[CANARY].sessions)

    # -- this cell's report -------------------------------------------------------------------------------------------

    async def _observe(self, to_move: int) -> None:
        moved = closed = interrupted = 0
        in_force_at: float | None = None
        while True:
            watched = self._watched
            assert watched is not None  # `begin` set it, and `stop` ends this first
            sweep = watched.sweep
            swept = await self._cell.verify(sweep)
            # An admission after a later sweep's beginning would show in that sweep's own clock.
            if swept.new_stopped_ms > 0 or in_force_at is None:
                in_force_at = sweep.at + swept.new_stopped_ms / 1000
            moved += swept.sessions_moved
            closed += swept.closed
            interrupted += swept.interrupted
            if swept.verified:
                break
            if watched.sweep is sweep:
                watched.sweep = self._state.publish(rollback=True)
            await asyncio.sleep(0)
        begun = self._reports.pop(self._fleet.name).report
        report = msgspec.structs.replace(
            begun, to_move=max(to_move, moved), moved=moved, closed=closed, interrupted=interrupted, done=True
        )
        self._publish(report, in_force_at, sweep.at + swept.existing_moved_ms / 1000)

    def _publish(self, report: CellReport, in_force_at: float, done_at: float | None = None) -> None:
        self._fleet.bus.tell(report)
        self._note(self._fleet.name, report, in_force_at, done_at)
        self._observed.set()
        self._add_up()

    def _note(self, cell: str, report: CellReport, in_force_at: float, done_at: float | None = None) -> None:
        heard = self._reports.get(cell)
        if heard is None or heard.report.rollback != report.rollback:
            heard = self._reports[cell] = _Heard(report, in_force_at)
        heard.report = report
        if report.done and heard.done_at is None:
            heard.done_at = in_force_at if done_at is None else done_at

    # -- all reports together -----------------------------------------------------------------------------------------

    def _known_reports(self) -> dict[str, _Heard]:
        receipt = self.receipt
        if receipt is None:
            return {}
        return {cell: heard for cell, heard in self._reports.items() if heard.report.rollback == receipt.rollback.id}

    def _leads(self) -> bool:
        """Whether this cell adds the reports up: the one that was given the command, or the first that is left."""
        return self._leader() == self._fleet.name

    def _leader(self) -> str:
        leader = self._watched.leader if self._watched is not None else ""
        return leader or self._fleet.names()[0]

    def _add_up(self) -> None:
        watched, receipt = self._watched, self.receipt
        if watched is None or receipt is None or receipt.rollback.verified_at is not None:
            return
        self._notifier.tell()
        if not self._leads():
            return
        names, reports = self._fleet.names(), self._known_reports()
        verified = all(name in reports and reports[name].report.done for name in names)
        cells = [name for name in names if name in reports]
        added = add_up(receipt, watched.before, [each.report for each in reports.values()], cells)
        if verified:
            rollback = msgspec.structs.replace(
                added.rollback,
                new_stopped_ms=self._clock_ms(watched, [each.in_force_at for each in reports.values()]),
                existing_moved_ms=self._clock_ms(watched, [each.done_at or 0.0 for each in reports.values()]),
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
