"""Rollbacks: ordered at once, watched until they were seen complete, and settled with the store when it answers.

A rollback waits for nothing but the disk: lock file, cell, and only then store, audit and flag. What was being saved
when it came lies under it. It must not know of HTTP or of SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace

import msgspec
import structlog

from app.control.lockfile import UNKNOWN
from app.control.receipt import Receipt
from app.control.record import audit_in, place_of
from app.control.state import Desk
from app.control.verification import Verification
from app.errors import StoreUnavailable
from app.fleet.bus import Locked
from app.gateway.sweep import Sweep
from app.store.port import RevisionTaken
from rollout.events import Actor, Audit, LockFound, Rollback, Transition
from rollout.machine import advance
from rollout.names import CANARY
from rollout.now import Now
from rollout.state import Lock, Rollout
from rollout.views import AuditEntry, PathFigures

ANSWER_S = 1.0
"""A rollback's answer waits for the store at most so long."""
MAKER_S = 3.0
"""The cell that was given a rollback saves it; what the store has not got by then, any other that knows of it saves."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PendingRollback:
    """A rollback that is in force here and not in the store yet."""

    base_revision: int
    transition: Transition
    command: Rollback
    lock: Lock
    now: Now
    entry: AuditEntry | None
    """None for the lock of another process: whoever made it audits it."""
    late: bool = False
    """The store was away when it was made, so a lock that was lifted there in the meantime is superseded."""
    wait_until: float = 0.0
    """Monotonic seconds; until then whoever made the lock may be about to save it, and this cell leaves it to them."""


class Rollbacks:
    """The rollbacks of one cell."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._unsaved: PendingRollback | None = None
        self._all_saved = asyncio.Event()
        self._all_saved.set()
        self.watch = Verification(
            desk.cell,
            desk.fleet,
            lambda: desk.force.publish(rollback=True),
            self._keep,
            desk.changes.tell,
            desk.clock,
        )
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def unsaved(self) -> PendingRollback | None:
        """The rollback that the store does not know yet."""
        return self._unsaved

    @unsaved.setter
    def unsaved(self, job: PendingRollback | None) -> None:
        self._unsaved = job
        if job is None:
            self._all_saved.set()
        else:
            self._all_saved.clear()

    async def saved(self) -> None:
        """Wait while a rollback of just now, given to this cell or to another one, is being saved; a second at most."""
        if not self._desk.keeper.down:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await self._all_saved.wait()

    def found(self, lock: Lock) -> None:
        """A lock was found at start: v2, whatever the record turns out to say."""
        command = Rollback(actor=Actor(lock.by, "oncall" if lock.by_person else "system"), reason=lock.reason)
        now = self._made(lock)
        transition = advance(Rollout(), command, now)
        self._desk.force.state = transition.state
        self.unsaved = PendingRollback(-1, transition, command, lock, now, None)

    def _made(self, lock: Lock) -> Now:
        """When this cell heard of it, with the date that it bears."""
        return replace(self._desk.now(), wall=lock.since)

    def merge(self, lock: Lock, leader: str) -> None:
        """Another cell of this host has rolled back: in force here when this returns, whatever the store knows.

        A lock that was lifted meanwhile is none; `leader` is the cell that saves and audits it.
        """
        desk = self._desk
        state, figures = desk.force.state, desk.figures()
        if not desk.keeper.loaded:
            if state.lock is None:
                self.found(lock)
        elif state.lock is not None or UNKNOWN < lock.generation < state.generation or _lifted(state, lock):
            return
        else:
            lock = replace(lock, generation=state.generation) if lock.generation == UNKNOWN else lock
            transition = advance(state, LockFound(lock=lock), desk.now())
            command = Rollback(actor=Actor(lock.by, "oncall" if lock.by_person else "system"), reason=lock.reason)
            if self.unsaved is None:
                wait_until = time.monotonic() + MAKER_S
                self.unsaved = PendingRollback(
                    state.revision, transition, command, lock, self._made(lock), None, wait_until=wait_until
                )
            desk.force.state = transition.state
        to_move = desk.cell.path_state(CANARY).sessions
        self.observe(desk.force.publish(rollback=True), None, to_move, leader, figures=figures)
        desk.changes.tell()
        self._spawn(desk.force.write_flag())

    async def order(self, command: Rollback, source: str) -> None:
        """Disk, cell; then store, audit and flag, which hold up the answer for a second at most. Raises NotAllowed."""
        commanded_at, now, force = time.monotonic(), self._desk.now(), self._desk.force
        figures = self._desk.figures()
        async with force.disk:
            transition = advance(force.state, command, now)
            while True:
                lock = self._durable(transition)
                await force.write_lock(lock)
                transition = advance(force.state, command, now)
                if self._durable(transition) == lock:
                    break  # else another command came through while the disk worked
            # From here to the sweep nothing is awaited, so no admission slips in between.
            base, force.state = force.state, transition.state
            to_move = self._desk.cell.path_state(CANARY).sessions
            self._desk.fleet.bus.tell(Locked(lock))
            sweep = force.publish(rollback=True)
        entry = self._desk.entry(audit_in(transition.effects), source, base, transition.state, figures)
        if self.unsaved is None:
            self.unsaved = PendingRollback(base.revision, transition, command, lock, now, entry)
        elif self.unsaved.entry is None:
            # Of the other one this cell has only heard, and it may be lifted by now; this one it has to answer for.
            self.unsaved = PendingRollback(-1, transition, command, lock, now, entry)
        else:
            self._desk.keeper.wait(entry)
        self.observe(sweep, commanded_at, to_move, self._desk.fleet.name, figures=figures)
        self._desk.changes.tell()
        self._desk.tell(transition.effects)
        await asyncio.wait({self._spawn(self._save_rollback())}, timeout=ANSWER_S)

    def _durable(self, transition: Transition) -> Lock:
        """The lock for the disk.

        Which generation it belongs to is open while the record is unread or being changed, or of a lock only heard of.
        """
        lock = transition.state.lock
        assert lock is not None  # a rollback always locks
        only_heard = self.unsaved is not None and self.unsaved.entry is None
        sure = self._desk.keeper.loaded and not only_heard and not self._desk.changing.locked()
        return lock if sure else replace(lock, generation=UNKNOWN)

    def observe(
        self,
        sweep: Sweep,
        commanded_at: float | None,
        to_move: int,
        leader: str = "",
        *,
        figures: list[PathFigures],
    ) -> None:
        """Watch the rollback in force from this sweep on; see `Verification.begin`."""
        last = self._desk.force.state.last_rollback
        assert last is not None  # a rollback was just made, or found
        self.watch.begin(
            last,
            sweep,
            commanded_at,
            to_move=to_move,
            leader=leader,
            figures=figures,
            errors=self._desk.ledger.errors.counts(),
        )

    async def _save_rollback(self) -> None:
        try:
            async with self._desk.changing:
                await self.settle()
            await self._desk.keeper.flush()
        except StoreUnavailable:
            if self.unsaved is not None:
                self.unsaved = replace(self.unsaved, late=True)
            log.warning("the rollback is in force here and not in the store yet")
        except Exception:
            log.exception("saving the rollback failed; it is in force here")
        await self._desk.force.write_flag()

    async def settle(self) -> None:
        """Bring the rollback that is in force here into the store; `changing` is held. Raises StoreUnavailable.

        Whatever was saved since it was decided lies under it.
        """
        job = self.unsaved
        if job is None:
            return
        if not self._desk.keeper.loaded:
            await self._desk.keeper.load()
        known = self._desk.keeper.stored or Rollout()
        unheard = known.lock is None and known.generation <= job.lock.generation and not _lifted(known, job.lock)
        if unheard and job.wait_until > time.monotonic():
            return
        while True:
            stored = self._desk.keeper.stored or Rollout()
            transition, entry = self._rebased(job, stored)
            try:
                if transition.state.revision != stored.revision:
                    await self._desk.keeper.save(transition.state, entry or self._found(job, transition, stored))
                elif entry is not None:
                    if await self._desk.keeper.load():
                        continue  # what it repeats was lifted, and this cell had not heard of that
                    self._desk.keeper.wait(entry)
                break
            except RevisionTaken:
                await self._desk.keeper.load()
        self.unsaved = None
        self._desk.force.state = transition.state
        self.watch.rename(transition.state.last_rollback)
        await self._desk.force.settle_lock()
        if transition.state.lock is None:
            await self.lifted()
        elif self.watch.receipt is not None:
            await self._settle_receipt(found=job.entry is None)

    async def _settle_receipt(self, *, found: bool) -> None:
        """Keep the receipt under its final id, unless an earlier process saw this rollback complete."""
        receipt = self.watch.receipt
        assert receipt is not None  # settle looked
        before = await self._desk.keeper.receipt(receipt.rollback.id) if found else None
        if before is not None and before.rollback.verified_at is not None:
            self.watch.restore(before)
        else:
            await self._desk.keeper.keep(receipt)

    def _rebased(self, job: PendingRollback, stored: Rollout) -> tuple[Transition, AuditEntry | None]:
        if stored.revision == job.base_revision:
            return job.transition, job.entry
        if job.wait_until and (_lifted(stored, job.lock) or UNKNOWN < job.lock.generation < stored.generation):
            return Transition(stored), None  # only heard of: whoever made it has audited it
        if job.late or job.entry is None:
            generation = stored.generation if job.lock.generation == UNKNOWN else job.lock.generation
            transition = advance(stored, LockFound(lock=replace(job.lock, generation=generation)), job.now)
        else:
            transition = advance(stored, job.command, job.now)
        superseded = next((effect for effect in transition.effects if isinstance(effect, Audit)), None)
        if job.entry is not None:
            state = transition.state
            changes = {"what": superseded.what} if superseded else {}
            return transition, msgspec.structs.replace(
                job.entry,
                at=job.now.wall,
                revision=state.revision,
                before=place_of(stored),
                after=place_of(state),
                **changes,
            )
        if superseded and transition.state.revision == stored.revision:
            return transition, self._desk.entry(superseded, "lock file", stored, stored)
        return transition, None

    def _found(self, job: PendingRollback, transition: Transition, stored: Rollout) -> AuditEntry:
        """For a lock found at start that the store knows nothing of."""
        return self._desk.entry(audit_in(transition.effects), "lock file", stored, transition.state)

    async def lifted(self) -> None:
        """The record says that there is no lock (any more)."""
        await self.watch.stop()
        await self._desk.force.write_flag()
        self._desk.force.publish()

    def _keep(self, receipt: Receipt) -> None:
        self._desk.changes.tell()
        if self.unsaved is None:  # else it is kept, under its final id, when the rollback is saved
            self._desk.keeper.hold(receipt)
            self._spawn(self._desk.keeper.flush())

    def _spawn(self, work: Coroutine[None, None, object]) -> asyncio.Task[object]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Watch no longer; what is being saved is saved."""
        await self.watch.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _lifted(rollout: Rollout, lock: Lock) -> bool:
    """Whether the record has had the rollback that made this lock, and has it no more."""
    last = rollout.last_rollback
    return rollout.lock is None and last is not None and (last.at, last.by) == (lock.since, lock.by)
