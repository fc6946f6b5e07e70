"""Verifies a rollback: it is complete once every cell was seen to be empty of v3.

Each cell observes itself and sends its report to the others; one cell leads and adds the reports up. Nothing is
reported that no cell has observed.
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

REPORTS = 256
"""Reports kept; of more cells than that, those of the cells that are gone are dropped, the oldest first."""
log = structlog.get_logger()


@dataclass(slots=True)
class _TimedReport:
    """A cell's report, and when this cell learned that the rollback is in force there, and complete (monotonic)."""

    report: CellReport
    in_force_at: float
    done_at: float | None = None


@dataclass(slots=True)
class _Observation:
    """How this cell observes the rollback in force."""

    leader: str
    """The cell that was given the command; empty: it is gone, or this cell does not know it."""
    commanded_at: float | None
    """Monotonic seconds; None: another cell was given the command, so there are no clocks here."""
    before: RollbackView
    """What was known of it when this cell began to observe; an earlier process may have counted more."""
    sweep: Sweep


class Verification:
    """The verification of the last rollback in one cell. `clock` gives Unix seconds."""

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
        self._observation: _Observation | None = None
        self._reports: dict[str, _TimedReport] = {}
        self._task: asyncio.Task[None] | None = None
        self.receipt: Receipt | None = None

    @property
    def own_report(self) -> CellReport | None:
        """What this cell has observed of the rollback in force."""
        own = self._reports.get(self._fleet.name)
        return None if own is None else own.report

    @property
    def complete(self) -> bool:
        """Whether nothing more has to be heard from other cells."""
        return self._observation is None or self.receipt is None or self.receipt.rollback.verified_at is not None

    def waits_for(self) -> set[str]:
        """The cells whose reports are missing; with all reports in and nothing verified, the cell that adds them up."""
        if self.complete:
            return set()
        reports = self._current_reports()
        missing = {name for name in self._fleet.names() if name not in reports or not reports[name].report.done}
        return missing or {self._leader()}

    def restore(self, receipt: Receipt) -> None:
        """Take over what an earlier process knew of the last rollback."""
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
        """Observe the record's rollback from `sweep` on; its clocks start at `commanded_at` (monotonic seconds).

        Without `commanded_at` another cell was given the command, and there are no clocks here. `to_move` is how many
        sessions were on v3 here when it came. The same rollback, ordered again, goes on with its first receipt.
        """
        last = record.last_rollback
        assert last is not None  # a rollback was just made, or found
        receipt = self.receipt
        if receipt is None or receipt.rollback.id != last.id:
            receipt = self.receipt = begin_receipt(last, figures)
        same = self._observation is not None and self._observation.before.id == last.id
        if self._observation is not None and same:
            self._observation.sweep = sweep
        else:
            self._observation = _Observation(leader, commanded_at, receipt.rollback, sweep)
        if receipt.rollback.verified_at is not None:
            return
        if not same:
            errors = self._counters.errors.counts()
            self._publish(CellReport(last.id, to_move, 0, 0, 0, False, errors, leader), sweep.at)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._observe(to_move))

    def rename(self, last: LastRollback | None) -> None:
        """Take the final id and origin of the rollback: another record than expected lies under it."""
        receipt, observation = self.receipt, self._observation
        if last is None or receipt is None or receipt.rollback.at != last.at:
            return
        if (receipt.rollback.id, receipt.from_percentage) == (last.id, last.place.percentage):
            return
        rollback = msgspec.structs.replace(receipt.rollback, id=last.id)
        self.receipt = msgspec.structs.replace(receipt, rollback=rollback, from_percentage=last.place.percentage)
        if observation is not None:
            observation.before = msgspec.structs.replace(observation.before, id=last.id)
        own = self._reports.get(self._fleet.name)
        if own is not None:
            own.report = msgspec.structs.replace(own.report, rollback=last.id)
            self._fleet.bus.tell(own.report)
        self._add_up()

    async def stop(self) -> None:
        """Stop observing: the rollback was lifted, or the service ends. What was not observed stays unverified."""
        task, self._task = self._task, None
        self._observation = None
        self._reports.clear()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def keep(self, *, found: bool) -> None:
        """Save the receipt under its final id; `found`: an earlier process may have verified this rollback already.

        Raises StoreUnavailable.
        """
        receipt = self.receipt
        if receipt is None:
            return
        earlier = await self._repository.receipt(receipt.rollback.id) if found else None
        if earlier is not None and earlier.rollback.verified_at is not None:
            self.restore(earlier)
        else:
            self._repository.hold(receipt)

    def _hold(self, receipt: Receipt) -> None:
        """Save what was observed, unless the rollback is not saved yet: its id may change, and `keep` follows."""
        self._notifier.tell()
        if self._state.pending is None:
            self._repository.hold(receipt)

    # -- what other cells report --------------------------------------------------------------------------------------

    def hear(self, cell: str, report: CellReport) -> None:
        """Take another cell's report."""
        earlier = self._reports.get(cell)
        if earlier is not None and earlier.report == report:
            return
        observation = self._observation
        if observation is not None and not observation.leader and report.rollback == observation.before.id:
            observation.leader = report.leader if report.leader in self._fleet.names() else ""
        self._note(cell, report, monotonic())
        self._add_up()

    def hear_receipt(self, receipt: Receipt) -> None:
        """Take what the leader has added up so far."""
        current = self.receipt
        if self._leads() and self._observation is not None:
            return
        if current is None or current.rollback.id != receipt.rollback.id or current.rollback.verified_at is None:
            self.receipt = receipt
            self._notifier.tell()

    def present(self) -> None:
        """Cells came or went: whichever leads now needs every report."""
        observation = self._observation
        if observation is None:
            return
        if observation.leader not in self._fleet.names():
            observation.leader = ""
        own = self._reports.get(self._fleet.name)
        if own is not None and self.receipt is not None and self.receipt.rollback.verified_at is None:
            own.report = msgspec.structs.replace(own.report, leader=observation.leader)
            self._fleet.bus.tell(own.report)
        self._add_up()

    # -- what pages show ----------------------------------------------------------------------------------------------

    def rollback(self) -> RollbackView | None:
        """The last rollback; until it is verified, with the cells where it is in force and those that are silent."""
        if self.receipt is None:
            return None
        rollback = self.receipt.rollback
        if rollback.verified_at is not None or self._observation is None:
            return rollback
        names = self._fleet.names()
        reports = self._current_reports()
        leader = self._observation.leader or names[0]
        silent = [
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
                rollback.sessions_moved, sum(self._left_v3(name, timed.report) for name, timed in reports.items())
            ),
            cells=[name for name in names if name in reports],
            silent_cells=silent,
        )

    def _to_move(self, cell: str, timed: _TimedReport | None) -> int:
        """Sessions that were on v3 when the rollback came; without a report, those in the cell's last figures."""
        if timed is not None:
            return timed.report.to_move
        figures = self._fleet.others().get(cell)
        return 0 if figures is None or figures.locked else figures.paths[CANARY].sessions

    def _left_v3(self, cell: str, report: CellReport) -> int:
        """Of the sessions that a cell had to move, those that were observed to have left v3."""
        if report.done:
            return report.moved
        if cell == self._fleet.name:
            return max(0, report.to_move - self._cell.path_state(CANARY).sessions)
        figures = self._fleet.others().get(cell)
        if figures is None or not figures.locked:
            return 0  # its last figures are from before the rollback
        return max(0, report.to_move - figures.paths[CANARY].sessions)

    # -- this cell's report -------------------------------------------------------------------------------------------

    async def _observe(self, to_move: int) -> None:
        moved = closed = interrupted = 0
        in_force_at: float | None = None
        while True:
            observation = self._observation
            assert observation is not None  # `begin` set it, and `stop` ends this first
            sweep = observation.sweep
            swept = await self._cell.verify(sweep)
            # An admission under a later sweep shows in that sweep's own clock.
            if swept.new_stopped_ms > 0 or in_force_at is None:
                in_force_at = sweep.at + swept.new_stopped_ms / 1000
            # Each sweep of the same rollback counts on from the one that it has overtaken; one that was overtaken
            # before this cell began to wait for it reports nothing.
            moved = max(moved, swept.sessions_moved)
            closed = max(closed, swept.closed)
            interrupted = max(interrupted, swept.interrupted)
            if swept.verified:
                break
            if observation.sweep is sweep:
                observation.sweep = self._state.publish(rollback=True)
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
        timed = self._reports.get(cell)
        if timed is None or timed.report.rollback != report.rollback:
            timed = self._reports[cell] = _TimedReport(report, in_force_at)
            self._forget_gone()
        timed.report = report
        if report.done and timed.done_at is None:
            timed.done_at = in_force_at if done_at is None else done_at

    def _forget_gone(self) -> None:
        """A lock can be in force for months, while cells come and go."""
        if len(self._reports) > REPORTS:
            there = set(self._fleet.names())
            gone = next((cell for cell in self._reports if cell not in there), None)
            if gone is not None:
                del self._reports[gone]

    # -- all reports together -----------------------------------------------------------------------------------------

    def _current_reports(self) -> dict[str, _TimedReport]:
        """The reports of the rollback that the receipt is of."""
        receipt = self.receipt
        if receipt is None:
            return {}
        return {cell: timed for cell, timed in self._reports.items() if timed.report.rollback == receipt.rollback.id}

    def _leads(self) -> bool:
        """Whether this cell adds the reports up: it was given the command, or is the first that is left."""
        return self._leader() == self._fleet.name

    def _leader(self) -> str:
        leader = self._observation.leader if self._observation is not None else ""
        return leader or self._fleet.names()[0]

    def _add_up(self) -> None:
        observation, receipt = self._observation, self.receipt
        if observation is None or receipt is None or receipt.rollback.verified_at is not None:
            return
        self._notifier.tell()
        if not self._leads():
            return
        names, reports = self._fleet.names(), self._current_reports()
        verified = all(name in reports and reports[name].report.done for name in names)
        cells = [name for name in names if name in reports]
        added = add_up(receipt, observation.before, [each.report for each in reports.values()], cells)
        if verified:
            rollback = msgspec.structs.replace(
                added.rollback,
                new_stopped_ms=self._clock_ms(observation, [each.in_force_at for each in reports.values()]),
                existing_moved_ms=self._clock_ms(observation, [each.done_at or 0.0 for each in reports.values()]),
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
    def _clock_ms(observation: _Observation, at: list[float]) -> float | None:
        return None if observation.commanded_at is None else (max(at) - observation.commanded_at) * 1000
