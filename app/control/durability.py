"""Whether the lock in force would be found again after a crash of this host, and in words where it is kept.

Durable is what this host's disk has, as its lock file or in the embedded store, and what PostgreSQL has committed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from app.control.host_lock import HostLock
from app.control.notifier import Notifier
from app.control.repository import Repository
from app.control.state import State
from rollout.views import Durability, RollbackView

log = structlog.get_logger()


class DurabilityWatch:
    """Looks at the lock in force of one cell. All calls are synchronous and ask no disk."""

    def __init__(
        self,
        *,
        state: State,
        host_lock: HostLock,
        repository: Repository,
        notifier: Notifier,
        store_here: bool,
        lost: Callable[[], str],
    ) -> None:
        """`store_here`: the store lies in the data folder too; `lost`: why that folder keeps nothing, or empty."""
        self._state = state
        self._host_lock = host_lock
        self._repository = repository
        self._notifier = notifier
        self._store_here = store_here
        self._lost = lost
        self._told: Durability | None = None

    def now(self) -> Durability | None:
        """Of the lock in force; None: there is none."""
        lock = self._state.wanted().lock
        if lock is None:
            return None
        lost = self._lost()
        on_disk = not lost and self._host_lock.agrees(lock)
        saved = self._saved() and not (self._store_here and lost)
        return Durability(on_disk or saved, _words(on_disk, saved, lost or self._host_lock.trouble))

    def _saved(self) -> bool:
        """Whether the store has the lock in force: nothing of it is pending, and the stored record has one."""
        stored = self._repository.stored
        return self._state.known and self._state.pending is None and stored is not None and stored.lock is not None

    def shown(self, rollback: RollbackView | None) -> RollbackView | None:
        """The rollback, and why it is not durable, if its lock is the one in force and is not."""
        last, durability = self._state.record.last_rollback, self.now()
        if rollback is None or last is None or rollback.id != last.id or durability is None or durability.durable:
            return rollback
        return msgspec.structs.replace(rollback, durable=durability.durable, durability=durability.words)

    def check(self) -> None:
        """Log and tell a change; called whenever the disk or the store may have got the lock, or lost it."""
        durability = self.now()
        if durability == self._told:
            return
        before, self._told = self._told, durability
        self._notifier.tell()
        if durability is None:
            return
        if not durability.durable:
            log.error("the rollback in force is not durable", kept=durability.words)
        elif before is not None and not before.durable:
            log.info("the rollback in force is durable now", kept=durability.words)


def _words(on_disk: bool, saved: bool, trouble: str) -> str:
    where = f"not on disk: {trouble}" if trouble else "not on disk yet"
    if on_disk:
        return "on this host's disk and in the store" if saved else "on this host's disk, not in the store yet"
    return f"in the store; its own file is {where}" if saved else where
