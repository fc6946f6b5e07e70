"""A rollback that is in force in this cell and not in the store yet, and what becomes of it when the store answers.

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
"""Base revision of a rollback that was made without knowing the record: the stored one is never it."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the store has to be told of a pending rollback, and what is in force afterwards."""

    record: Rollout
    """The stored record itself when there is nothing to save."""
    entry: AuditEntry | None
    """Ready to be written; None: there is none, or it has to be made of `audit`."""
    audit: Audit | None


@dataclass(frozen=True, slots=True)
class PendingRollback:
    """See the module; `now` is when this cell decided or heard of it, with the date that its lock bears."""

    base_revision: int
    transition: Transition
    command: Rollback
    lock: Lock
    now: Now
    entry: AuditEntry | None
    """None: another process made the lock, and audits it."""
    late: bool = False
    """The store was away when it was made, so a lock that was lifted there in the meantime is superseded."""
    wait_until: float = 0.0
    """Monotonic seconds. Until then its maker may be about to save it, and this cell leaves it to them; 0: its own."""

    @classmethod
    def found(cls, lock: Lock, now: Now) -> PendingRollback:
        """A lock of which nobody knows what the record says about it: v2, whatever that turns out to be."""
        command, made = _command_of(lock), replace(now, wall=lock.since)
        return cls(UNREAD, order(Rollout(), command, made), command, lock, made, None)

    @classmethod
    def heard(cls, lock: Lock, record: Rollout, now: Now, wait_until: float) -> PendingRollback:
        """Another cell of this host has rolled back; it saves this itself until `wait_until` (monotonic seconds)."""
        if lock.generation == UNKNOWN:
            lock = replace(lock, generation=record.generation)
        transition = merge(record, lock, now)
        made = replace(now, wall=lock.since)
        return cls(record.revision, transition, _command_of(lock), lock, made, None, wait_until=wait_until)

    def left_to_its_maker(self, stored: Rollout, ticks: float) -> bool:
        """Whether the store may still hear of it from whoever made it; `ticks` in monotonic seconds."""
        unheard = stored.lock is None and stored.generation <= self.lock.generation and not lifted(stored, self.lock)
        return unheard and self.wait_until > ticks

    def settle(self, stored: Rollout) -> Settlement:
        """What to write on top of this stored record. Whatever was saved since it was decided lies under it."""
        if stored.revision == self.base_revision:
            return Settlement(self.transition.state, self.entry, _audit_of(self.transition))
        if self.wait_until and (lifted(stored, self.lock) or UNKNOWN < self.lock.generation < stored.generation):
            return Settlement(stored, None, None)  # only heard of: whoever made it has audited it
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
    """Which of two rollbacks the store has to be told of; the later one repeats the earlier."""
    if earlier is None:
        return later
    if earlier.entry is None and later.entry is not None:
        # Of the earlier one this cell has only heard, and it may be lifted by now; for this one it has to answer.
        return replace(later, base_revision=UNREAD)
    return earlier


def lifted(record: Rollout, lock: Lock) -> bool:
    """Whether the record has had the rollback that made this lock, and has it no more."""
    last = record.last_rollback
    return record.lock is None and last is not None and (last.at, last.by) == (lock.since, lock.by)


def _command_of(lock: Lock) -> Rollback:
    return Rollback(actor=Actor(lock.by, "oncall" if lock.by_person else "system"), reason=lock.reason)


def _audit_of(transition: Transition) -> Audit | None:
    return next((effect for effect in transition.effects if isinstance(effect, Audit)), None)
