"""What a cell knows at one moment of itself and the others, and the audit entries that are made from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from app.control.flag_writer import FlagWriter
from app.control.ports import CellPort, Guard
from app.control.record import entry_of
from app.control.repository import Repository
from app.control.state import State
from app.control.views import Snapshot, path_figures
from app.fleet.members import Fleet
from app.metrics.counters import Counters
from app.settings import Settings
from rollout.events import Audit
from rollout.state import Rollout
from rollout.views import AuditEntry, Durability, PathFigures, RollbackView


class Snapshots:
    """Takes snapshots. Its only state is where the window of the figures begins. `clock` gives Unix seconds."""

    def __init__(
        self,
        *,
        cell: CellPort,
        fleet: Fleet,
        state: State,
        flag: FlagWriter,
        repository: Repository,
        counters: Counters,
        guard: Guard,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._cell = cell
        self._fleet = fleet
        self._state = state
        self._flag = flag
        self._repository = repository
        self._counters = counters
        self._guard = guard
        self._settings = settings
        self._clock = clock
        self._window = counters.mark(monotonic())

    def begin_window(self, percentage: int) -> None:
        """The share of users changed: figures and evidence begin anew."""
        self._guard.new_epoch(percentage)
        self._window = self._counters.mark(monotonic())

    def take(self, rollback: RollbackView | None = None, durability: Durability | None = None) -> Snapshot:
        """Everything that a view is made of, now; `rollback` is what is known of the last one."""
        return Snapshot(
            now=self._state.now(),
            ticks=monotonic(),
            record=self._state.record,
            settings=self._settings,
            cell=self._cell,
            fleet=self._fleet,
            counters=self._counters,
            mark=self._window,
            view=self._state.view(),
            flag_age_s=self._flag.age_s,
            flag_status=self._flag.status,
            store_down=self._repository.down or not self._repository.loaded,
            verdicts=self._guard.verdicts(),
            rollback=rollback,
            durability=durability,
        )

    def figures(self) -> list[PathFigures]:
        """Both paths in all cells, now."""
        return path_figures(self.take())

    def entry(
        self,
        audit: Audit,
        source: str,
        before: Rollout,
        after: Rollout | None = None,
        figures: Sequence[PathFigures] | None = None,
    ) -> AuditEntry:
        """An audit entry, with the figures of this moment if none are given.

        The entry of a change has the time of the change. Without `after` the record did not change.
        """
        after = before if after is None else after
        now = self._clock() if after.revision == before.revision else after.changed_at
        return entry_of(audit, source, before, after, figures=self.figures() if figures is None else figures, now=now)
