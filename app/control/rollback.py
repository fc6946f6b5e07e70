"""Rollbacks: in force at once, and only then written to the store, whatever it is doing.

A rollback waits for nothing but the disk, and for that a second at most: lock file, cell, then store, audit and flag.
It wins over a change that is being saved when it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from time import monotonic

import structlog

from app.control.durability import DurabilityWatch
from app.control.flag_writer import FlagWriter
from app.control.host_lock import HostLock
from app.control.lockfile import UNKNOWN
from app.control.notifier import Notifier
from app.control.pending import PendingRollback, lifted
from app.control.ports import CellPort
from app.control.record import audit_in
from app.control.repository import Repository
from app.control.snapshots import Snapshots
from app.control.state import State
from app.control.verification import Verification
from app.errors import StoreUnavailable
from app.fleet.bus import Locked
from app.fleet.members import Fleet
from app.gateway.sweep import Sweep
from app.store.port import RevisionTaken
from rollout.events import Notify, Rollback, Transition
from rollout.names import CANARY
from rollout.now import Now
from rollout.rollback import order
from rollout.state import Lock, Rollout
from rollout.views import AuditEntry

ANSWER_S = 1.0
"""How long the answer to a rollback waits for the store."""
MAKER_S = 3.0
"""How long the cell that was given a rollback has to save it; then any other cell that knows of it does."""
log = structlog.get_logger()


class Rollbacks:
    """The rollbacks of one cell: ordered here, heard of from other cells of its host, or found at the start."""

    def __init__(
        self,
        *,
        cell: CellPort,
        fleet: Fleet,
        state: State,
        host_lock: HostLock,
        durability: DurabilityWatch,
        flag: FlagWriter,
        repository: Repository,
        verification: Verification,
        snapshots: Snapshots,
        notifier: Notifier,
        notify: Callable[[Notify], None],
    ) -> None:
        self._cell = cell
        self._fleet = fleet
        self._state = state
        self._host_lock = host_lock
        self._durability = durability
        self._flag = flag
        self._repository = repository
        self._verification = verification
        self._snapshots = snapshots
        self._notifier = notifier
        self._notify = notify
        self._tasks: set[asyncio.Task[object]] = set()

    # -- in force -----------------------------------------------------------------------------------------------------

    async def order(self, command: Rollback, source: str) -> None:
        """Roll back: disk and cell, then store, audit and flag, which delay the answer by a second at most.

        Raises NotAllowed.
        """
        commanded_at, now = monotonic(), self._state.now()
        figures = self._snapshots.figures()
        async with self._host_lock.turn:
            transition, lock = await self._make_durable(command, now)
            # From here to the sweep nothing is awaited, so no admission slips in between.
            base, to_move = self._state.record, self._cell.path_state(CANARY).sessions
            entry = self._snapshots.entry(audit_in(transition.effects), source, base, transition.state, figures)
            earlier = self._state.pending
            self._fleet.bus.tell(Locked(lock))
            sweep = self._state.lock(PendingRollback(base.revision, transition, command, lock, now, entry))
        if earlier is not None and earlier.entry is not None:
            self._repository.wait(entry)  # the earlier one is about to be saved; this one repeats it
        self._verification.begin(
            transition.state, sweep, commanded_at, to_move=to_move, leader=self._fleet.name, figures=figures
        )
        self._notifier.tell()
        for effect in transition.effects:
            if isinstance(effect, Notify):
                self._notify(effect)
        await asyncio.wait({self._spawn(self._save())}, timeout=ANSWER_S)
        self._durability.check()

    async def _make_durable(self, command: Rollback, now: Now) -> tuple[Transition, Lock]:
        """The rollback of the record in force, and its lock, which is on the disk unless the disk has failed."""
        while True:
            lock = self._lock_for_disk(order(self._state.record, command, now))
            await self._host_lock.write(lock)
            transition = order(self._state.record, command, now)
            if self._lock_for_disk(transition) == lock:
                return transition, lock  # else another change was put in force while the disk worked

    def _lock_for_disk(self, transition: Transition) -> Lock:
        """With an unknown generation while the record is unread or being changed, or its lock was only heard of."""
        lock = transition.state.lock
        assert lock is not None  # a rollback always locks
        pending = self._state.pending
        only_heard = pending is not None and pending.entry is None
        sure = self._state.known and not only_heard and not self._repository.turn.locked()
        return lock if sure else replace(lock, generation=UNKNOWN)

    def found(self, lock: Lock) -> Sweep:
        """A lock was found at the start: v2, whatever the record turns out to say. The caller begins to observe."""
        return self._state.lock(PendingRollback.found(lock, self._state.now()))

    def merge(self, lock: Lock, leader: str) -> None:
        """Another cell of this host has rolled back: in force here when this returns, whatever the store has.

        A lock that was lifted meanwhile is ignored. `leader` is the cell that saves and audits the rollback.
        """
        record = self._state.record
        if record.lock is not None or UNKNOWN < lock.generation < record.generation or lifted(record, lock):
            return
        if self._state.known:
            rollback = PendingRollback.heard(lock, record, self._state.now(), monotonic() + MAKER_S)
        else:
            rollback = PendingRollback.found(lock, self._state.now())
        to_move, figures = self._cell.path_state(CANARY).sessions, self._snapshots.figures()
        sweep = self._state.lock(rollback)
        self._verification.begin(self._state.record, sweep, None, to_move=to_move, leader=leader, figures=figures)
        self._notifier.tell()
        self._spawn(self._flag.write())
        self._spawn(self._look_at_disk())

    async def _look_at_disk(self) -> None:
        """Whoever made a lock that was heard of has put it on the disk, unless that failed."""
        await self._host_lock.settle(self._state.wanted)
        self._durability.check()

    # -- in the store -------------------------------------------------------------------------------------------------

    async def _save(self) -> None:
        try:
            async with self._repository.turn:
                await self.settle()
            await self._repository.flush()
        except StoreUnavailable:
            self._state.delay()
            log.warning("the rollback is in force here and not in the store yet")
        except Exception:
            log.exception("saving the rollback failed; it is in force here")
        await self._flag.write()

    async def settle(self) -> None:
        """Save the pending rollback, if there is one; the caller holds `turn`. Raises StoreUnavailable."""
        pending = self._state.pending
        if pending is None:
            return
        if not self._repository.loaded:
            await self._repository.load()
        if pending.left_to_its_maker(self._repository.stored or Rollout(), monotonic()):
            return
        record = await self._settled(pending)
        while (ordered := self._ordered_since(pending)) is not None:
            # While what this cell had only heard of was being saved, it was given a rollback itself: to audit that one.
            pending = ordered
            record = await self._settled(pending)
        self._state.adopt(record)
        self._verification.rename(record.last_rollback)
        await self._host_lock.settle(self._state.wanted)
        self._durability.check()
        if record.lock is None:
            await self._verification.stop()
            await self._flag.write()
            self._state.publish()
        else:
            await self._verification.keep(found=pending.entry is None)

    def _ordered_since(self, settled: PendingRollback) -> PendingRollback | None:
        """The rollback that took the place of the one that was settled, which nobody has written yet."""
        pending = self._state.pending
        same = pending is None or pending.entry is settled.entry
        return None if same else pending

    async def _settled(self, pending: PendingRollback) -> Rollout:
        """Save the pending rollback on top of whatever the store has by then; returns the record that is left."""
        while True:
            stored = self._repository.stored or Rollout()
            settlement = pending.settle(stored)
            entry: AuditEntry | None = settlement.entry
            if entry is None and settlement.audit is not None:
                entry = self._snapshots.entry(settlement.audit, "lock file", stored, settlement.record)
            try:
                if settlement.record.revision != stored.revision:
                    assert entry is not None  # a changed record comes with its audit
                    await self._repository.save(settlement.record, entry)
                elif entry is not None:
                    if await self._repository.load():
                        continue  # the rollback that it repeats was lifted, and this cell did not know
                    self._repository.wait(entry)
                return settlement.record
            except RevisionTaken:
                await self._repository.load()

    def _spawn(self, work: Coroutine[None, None, object]) -> asyncio.Task[object]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop observing, and wait until what is being saved is saved."""
        await self._verification.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
