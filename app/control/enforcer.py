"""Puts the stored record in force in this cell: view, sessions, lock file and flag, each tried until it holds."""

from __future__ import annotations

import structlog

from app.control.durability import DurabilityWatch
from app.control.flag_writer import FlagWriter
from app.control.host_lock import HostLock
from app.control.notifier import Notifier
from app.control.ports import CellPort
from app.control.snapshots import Snapshots
from app.control.state import State
from app.control.verification import Verification
from rollout.names import CANARY
from rollout.state import Rollout

log = structlog.get_logger()


class Enforcer:
    """One cell's enforcer. A record saved here and one saved by another cell are put in force in the same way."""

    def __init__(
        self,
        *,
        cell: CellPort,
        state: State,
        host_lock: HostLock,
        durability: DurabilityWatch,
        flag: FlagWriter,
        verification: Verification,
        snapshots: Snapshots,
        notifier: Notifier,
    ) -> None:
        self._cell = cell
        self._state = state
        self._host_lock = host_lock
        self._durability = durability
        self._flag = flag
        self._verification = verification
        self._snapshots = snapshots
        self._notifier = notifier

    async def adopt(self, record: Rollout) -> None:
        """Put a stored record in force. Under a lock the sessions come first, otherwise the flag does.

        The view is made from what the flag reads, so a higher percentage is in force only once the flag has it too.
        """
        if record.lock is not None:
            await self._adopt_lock(record)
            return
        before = self._state.adopt(record)
        if before.lock is not None:
            await self._verification.stop()
            await self._host_lock.settle(self._state.wanted)
        if before.lock is not None or (before.id, before.percentage) != (record.id, record.percentage):
            await self._flag.write()
            if self._state.record is not record:
                return  # a rollback came in between, and has swept already
            self._state.publish()
            self._snapshots.begin_window(record.percentage)
        self._notifier.tell()

    async def _adopt_lock(self, record: Rollout) -> None:
        to_move, figures = self._cell.path_state(CANARY).sessions, self._snapshots.figures()
        before = self._state.adopt(record)
        if before.lock is None or before.last_rollback != record.last_rollback:
            sweep = self._state.publish(rollback=True)
            self._verification.begin(record, sweep, None, to_move=to_move, figures=figures)
        if (before.id, before.percentage) != (record.id, record.percentage):
            self._snapshots.begin_window(record.percentage)
        await self._host_lock.settle(self._state.wanted)
        await self._flag.write()
        self._notifier.tell()

    async def keep_lock(self) -> None:
        """See to it that the disk says what is in force, and keeps a place for the next lock. Raises nothing."""
        await self._host_lock.settle(self._state.wanted)
        self._durability.check()
        await self._host_lock.reserve()

    async def retry(self) -> None:
        """Write the flag, if it could not be written the last time. The disk is tried again by `keep_lock`."""
        if self._flag.behind and await self._flag.write():
            self._state.publish()
