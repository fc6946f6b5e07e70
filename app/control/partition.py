"""A cell that cannot hear the others serves v2, because they may have rolled back."""

from __future__ import annotations

import structlog

from app.control.notifier import Notifier
from app.control.repository import Repository
from app.control.state import State
from app.fleet.members import Fleet
from app.settings import Settings

CUT_OFF_S = 10.0
"""A cell that has not heard the others for this long does not know whether they have rolled back."""
log = structlog.get_logger()


class Partition:
    """Watches whether this cell can still hear the others, over the store or the bus. Call `check` once a second."""

    def __init__(
        self, fleet: Fleet, state: State, repository: Repository, settings: Settings, notifier: Notifier
    ) -> None:
        self._fleet = fleet
        self._state = state
        self._repository = repository
        self._settings = settings
        self._notifier = notifier
        self._store_heard_at = fleet.clock()

    def check(self) -> None:
        """Serve v2 after `CUT_OFF_S` without store and bus, unless `CROSSFADE_PARTITION` says to hold."""
        now = self._fleet.clock()
        if not self._repository.down:
            self._store_heard_at = now
        silent_s = now - self._store_heard_at
        if not self._fleet.on_several_hosts:
            silent_s = min(silent_s, self._fleet.bus.silent_s())  # one of the two is enough to hear the others
        cut_off = not self._fleet.alone and silent_s >= CUT_OFF_S and self._settings.partition == "v2"
        if self._state.cut_off(cut_off):
            log.warning("cut off from the other cells: v2 only" if cut_off else "the other cells are heard again")
            self._notifier.tell()
