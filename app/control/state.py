"""What the two halves of the control loop, ordinary changes and rollbacks, have in common: parts, figures, notices.

It decides nothing; must not know the verbs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from app.control.clock import RolloutClock
from app.control.enforcer import Enforcer
from app.control.notifier import Notifier
from app.control.ports import CellPort, Guard
from app.control.record import entry_of
from app.control.repository import Repository
from app.control.views import Known, path_figures
from app.fleet.members import Fleet
from app.metrics.counters import Counters, CountersMark
from app.settings import Settings
from rollout.events import Audit, Effect, Notify
from rollout.now import Now
from rollout.state import Rollout
from rollout.views import AuditEntry, PathFigures, RollbackView

log = structlog.get_logger()


def log_notice(notice: Notify) -> None:
    """Where notices go when nobody is named."""
    log.warning("notice", about=notice.about, text=notice.text)


@dataclass
class Desk:
    """The parts of one cell's control loop."""

    cell: CellPort
    fleet: Fleet
    keeper: Repository
    force: Enforcer
    ledger: Counters
    settings: Settings
    guard: Guard
    notify: Callable[[Notify], None]
    clock: Callable[[], float]
    """Unix seconds."""
    rollout_clock: RolloutClock
    mark: CountersMark
    """Where the figures begin: the last change of the percentage."""
    changes: Notifier = field(default_factory=Notifier)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the record is decided and saved; a rollback does not wait for it."""

    def now(self) -> Now:
        """This moment, as decisions take it."""
        return Now(self.clock(), self.rollout_clock.elapsed_s)

    def known(self, rollback: RollbackView | None = None) -> Known:
        """All that a view is made of, now."""
        now, force = self.now(), self.force
        return Known(
            now=now,
            ticks=time.monotonic(),
            state=force.state,
            settings=self.settings,
            cell=self.cell,
            fleet=self.fleet,
            ledger=self.ledger,
            mark=self.mark,
            view=force.view(),
            flag_age_s=force.flags.age_s(now.wall),
            flag_status=force.flag_status,
            store_down=self.keeper.down or not self.keeper.loaded,
            verdicts=self.guard.verdicts(),
            rollback=rollback,
        )

    def figures(self) -> list[PathFigures]:
        """Both paths in all cells, now."""
        return path_figures(self.known())

    def entry(
        self,
        audit: Audit,
        source: str,
        before: Rollout,
        after: Rollout,
        figures: Sequence[PathFigures] | None = None,
    ) -> AuditEntry:
        """A line of the audit, with the figures of this moment if none are given; a change's has the change's time."""
        now = self.clock() if after.revision == before.revision else after.changed_at
        return entry_of(audit, source, before, after, figures=self.figures() if figures is None else figures, now=now)

    def new_epoch(self, percentage: int) -> None:
        """The share of users changed: figures and evidence begin anew."""
        self.guard.new_epoch(percentage)
        self.mark = self.ledger.mark(time.monotonic())

    def tell(self, effects: Iterable[Effect]) -> None:
        """Send the notices among a transition's effects."""
        for effect in effects:
            if isinstance(effect, Notify):
                self.notify(effect)
