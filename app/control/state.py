"""The record in force in one cell and the view by which its sessions are decided. Nothing else changes either.

A record is adopted once the store has it; a rollback locks it before that. Whoever makes a change here carries out what
follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from app.control.clock import RolloutClock
from app.control.host_lock import Wanted
from app.control.pending import PendingRollback, joined
from app.control.ports import CellPort
from app.flags import Flags
from app.gateway.sweep import Sweep
from app.settings import Settings
from rollout.assign import View
from rollout.names import CANARY, PathName
from rollout.now import Now
from rollout.state import Rollout


class State:
    """What is in force in this cell. All calls but `saved` are synchronous; `clock` gives Unix seconds."""

    def __init__(
        self,
        cell: CellPort,
        flags: Flags,
        settings: Settings,
        clock: Callable[[], float],
        rollout_clock: RolloutClock,
    ) -> None:
        self._cell = cell
        self._flags = flags
        self._settings = settings
        self._clock = clock
        self._rollout_clock = rollout_clock
        self._record = Rollout()
        self._known = False
        self._pending: PendingRollback | None = None
        self._nothing_pending = asyncio.Event()
        self._nothing_pending.set()
        self._pins: Mapping[str, PathName] = {}
        self._cut_off = False

    @property
    def record(self) -> Rollout:
        """The record in force."""
        return self._record

    @property
    def pending(self) -> PendingRollback | None:
        """The rollback that is in force here and not yet in the store."""
        return self._pending

    @property
    def known(self) -> bool:
        """Whether the record in force is the store's, and not that of a cell which has yet to read it."""
        return self._known

    def wanted(self) -> Wanted:
        """What the disk should say.

        A pending rollback's is the lock as it was made: only the store's record can say to which generation it belongs.
        """
        pending = self._pending
        if pending is None:
            return Wanted(self._record.lock, self._record.generation)
        return Wanted(pending.lock, self._record.generation, heard=pending.entry is None)

    def now(self) -> Now:
        """This moment on both clocks, for a decision."""
        return Now(self._clock(), self._rollout_clock.elapsed_s)

    async def saved(self, limit_s: float) -> None:
        """Wait until no rollback is pending, for `limit_s` seconds at most."""
        try:
            async with asyncio.timeout(limit_s):
                await self._nothing_pending.wait()
        except TimeoutError:
            return

    # -- what changes it ----------------------------------------------------------------------------------------------

    def adopt(self, record: Rollout) -> Rollout:
        """Take this record, which the store has; nothing is pending then. Returns the one before.

        The view follows with the next `publish`, because the flag may have to be written first.
        """
        before, self._record, self._known = self._record, record, True
        self._wait_for(None)
        return before

    def lock(self, rollback: PendingRollback) -> Sweep:
        """Put a rollback in force that the store does not have yet: record, view and sweep in one step."""
        self._record = rollback.transition.state
        self._wait_for(joined(self._pending, rollback))
        return self.publish(rollback=True)

    def delay(self) -> None:
        """The store was down when the pending rollback should have been saved."""
        if self._pending is not None:
            self._pending = replace(self._pending, late=True)

    def pin(self, pins: Mapping[str, PathName]) -> bool:
        """Take these pins; returns whether they have changed. Open sessions follow, whatever the plan says."""
        if pins == self._pins:
            return False
        self._pins = pins
        self.publish(everyone=True)
        return True

    def cut_off(self, cut_off: bool) -> bool:
        """Serve v2 because the other cells cannot be heard, or stop doing so; returns whether that is a change."""
        if cut_off == self._cut_off:
            return False
        self._cut_off = cut_off
        self.publish()
        return True

    def _wait_for(self, pending: PendingRollback | None) -> None:
        self._pending = pending
        if pending is None:
            self._nothing_pending.set()
        else:
            self._nothing_pending.clear()

    # -- what follows for the sessions --------------------------------------------------------------------------------

    def view(self) -> View:
        """The view, made from record, flag, pins and cell as they are now."""
        return View(
            forced=self._settings.forced,
            locked=self._record.lock is not None,
            v3_available=self._cell.path_state(CANARY).available,
            v3_withheld=self._cut_off,
            pins=self._pins,
            flag=self._flags.rule(),
        )

    def publish(self, *, rollback: bool = False, everyone: bool = False) -> Sweep:
        """Give the cell the view and let it decide every session again; under a lock every sweep is a rollback's.

        `everyone`: open sessions follow, whatever the plan says of new connections.
        """
        plan = self._record.plan
        rollback = rollback or self._record.lock is not None
        return self._cell.apply(
            self.view(),
            rollback=rollback,
            per_second=0 if rollback else plan.ramp_per_second or self._settings.ramp_per_second,
            move_existing=rollback or everyone or not plan.new_connections_only,
        )
