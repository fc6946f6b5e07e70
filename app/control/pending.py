"""A rollback that is in force in this cell and not yet in the store, and what to write when the store answers.

Pure: what has to be written is returned, and the caller writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from app.control.lockfile import UNKNOWN
from app.control.record import place_of
from rollout.events import Actor, Audit, Rollback, Transition
from rollout.now import Now
from rollout.rollback import merge, order
from rollout.state import Lock, Rollout
from rollout.views import AuditEntry

UNREAD = -1
"""Base revision of a rollback that was made without knowing the record: no stored record has it."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to write to the store for a pending rollback, and what is in force afterwards."""

    record: Rollout
    """The stored record itself when there is nothing to save."""
    entry: AuditEntry | None
    """Ready to be written; None: there is none, or it has to be made from `audit`."""
    audit: Audit | None


@dataclass(frozen=True, slots=True)
class PendingRollback:
    """See the module. `now` is when this cell decided or heard of it, on the wall clock the time in its lock."""

    base_revision: int
    transition: Transition
    command: Rollback
    lock: Lock
    now: Now
    entry: AuditEntry | None
    """None: another process ordered the rollback, and audits it."""
    late: bool = False
    """The store was down when the rollback was ordered: if its lock was lifted there meanwhile, it is superseded."""
    wait_until: float = 0.0
    """Until then (monotonic seconds) the cell that was given the command is left to save it; 0: this cell was."""

    @classmethod
    def found(cls, lock: Lock, now: Now) -> PendingRollback:
        """A lock was found and the record is not known: v2, whatever the record turns out to say."""
        command, made = _command_of(lock), replace(now, wall=lock.since)
        return cls(UNREAD, order(Rollout(), command, made), command, lock, made, None)

    @classmethod
    def heard(cls, lock: Lock, record: Rollout, now: Now, wait_until: float) -> PendingRollback:
        """Another cell of this host has rolled back, and is left to save it until `wait_until` (monotonic seconds)."""
        if lock.generation == UNKNOWN:
            lock = replace(lock, generation=record.generation)
        transition = merge(record, lock, now)
        made = replace(now, wall=lock.since)
        return cls(record.revision, transition, _command_of(lock), lock, made, None, wait_until=wait_until)

    def left_to_its_maker(self, stored: Rollout, ticks: float) -> bool:
        """Whether the cell that was given the command may still save it; `ticks` in monotonic seconds."""
        unsaved = stored.lock is None and stored.generation <= self.lock.generation and not lifted(stored, self.lock)
        return unsaved and self.wait_until > ticks

    def settle(self, stored: Rollout) -> Settlement:
        """What to write on top of this stored record: the rollback wins over what was saved since it was decided."""
        if stored.revision == self.base_revision:
            return Settlement(self.transition.state, self.entry, _audit_of(self.transition))
        if self.wait_until and (lifted(stored, self.lock) or UNKNOWN < self.lock.generation < stored.generation):
            return Settlement(stored, None, None)  # only heard of: the cell that was given the command has audited it
        transition = self._on(stored)
        audit = _audit_of(transition)
        if self.entry is None:
            return Settlement(transition.state, None, audit)
        entry = msgspec.structs.replace(
            self.entry,
            at=self.now.wall,
            what=audit.what if audit else self.entry.what,
            revision=transition.state.revision,
            before=place_of(stored),
            after=place_of(transition.state),
        )
        return Settlement(transition.state, entry, audit)

    def _on(self, stored: Rollout) -> Transition:
        if not self.late and self.entry is not None:
            return order(stored, self.command, self.now)
        generation = stored.generation if self.lock.generation == UNKNOWN else self.lock.generation
        return merge(stored, replace(self.lock, generation=generation), self.now)


def joined(earlier: PendingRollback | None, later: PendingRollback) -> PendingRollback:
    """Which of two rollbacks to write to the store: the earlier, which the later one only repeats."""
    if earlier is None:
        return later
    if earlier.entry is None and later.entry is not None:
        # This cell has only heard of the earlier one, which may be lifted by now; the later one it has to save itself.
        return replace(later, base_revision=UNREAD)
    return earlier


def lifted(record: Rollout, lock: Lock) -> bool:
    """Whether the record has had the rollback of this lock, and no longer has the lock."""
    last = record.last_rollback
    return record.lock is None and last is not None and (last.at, last.by) == (lock.since, lock.by)


def _command_of(lock: Lock) -> Rollback:
    return Rollback(actor=Actor(lock.by, "oncall" if lock.by_person else "system"), reason=lock.reason)


def _audit_of(transition: Transition) -> Audit | None:
    return next((effect for effect in transition.effects if isinstance(effect, Audit)), None)
