"""Checks that the record, the audit and the answers to operators agree, whatever was killed in between. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from app.control.record import place_of
from rollout.state import Rollout
from rollout.views import AuditEntry

Verb = Literal["percentage", "rollback", "undo", "unlock"]


class Given(Struct):
    """A command as it was sent; its `reason` is unique, so that it can be found in the audit."""

    verb: Verb
    reason: str
    percentage: int = 0
    """The percentage that was asked for."""
    status: int | None = None
    """Status of the answer; None: there was no answer."""


def contradictions(
    record: Rollout, audit: Sequence[AuditEntry], commands: Iterable[Given], *, locked: bool
) -> list[str]:
    """What does not fit together; empty when all does.

    `audit` is all of it, the oldest first. `locked`: a lock lies on the disk, which is all that a rollback needs until
    the service has started again.
    """
    changes = [entry for entry in audit if not _repeats(entry)]
    return [*_broken_chain(record, changes), *_broken_promises(audit, changes, commands, locked=locked)]


def _repeats(entry: AuditEntry) -> bool:
    """A rollback while rolled back, or one that came too late, changes nothing and has no revision of its own."""
    return entry.what.startswith("rollback") and entry.before == entry.after


def _broken_chain(record: Rollout, changes: Sequence[AuditEntry]) -> Iterator[str]:
    """Each revision has one entry, each entry begins where the one before ended, and the last one is the record."""
    revisions = [entry.revision for entry in changes]
    if revisions != list(range(1, record.revision + 1)):
        odd = [each for each in range(1, record.revision + 1) if revisions.count(each) != 1]
        yield f"the record has revision {record.revision}; missing, or more than once, in the audit: {odd or revisions}"
    for earlier, later in pairwise(changes):
        if later.before != earlier.after:
            yield f"revision {later.revision} ({later.what}) began at {later.before}, not at {earlier.after}"
        if _is_locked(earlier) and later.what.split()[0].rstrip(",") not in ("unlock", "undo"):
            yield f"the lock of revision {earlier.revision} was left by {later.what!r}"
    last: Mapping[str, object] = changes[-1].after if changes else place_of(Rollout())
    if last != place_of(record):
        yield f"the audit ends at {last}, and the record says {place_of(record)}"
    if (record.lock is not None) != (record.phase == "rolled_back"):
        yield f"phase {record.phase} with lock {record.lock}"


def _broken_promises(
    audit: Sequence[AuditEntry], changes: Sequence[AuditEntry], commands: Iterable[Given], *, locked: bool
) -> Iterator[str]:
    """The audit contains what was answered with success, once, and nothing that was refused."""
    for command in commands:
        told = [entry for entry in audit if entry.reason == command.reason]
        found = [entry for entry in changes if entry.reason == command.reason]
        name = f"{command.verb} {command.reason!r}, answered {command.status}"
        if len(found) > 1:
            yield f"{name}, was done {len(found)} times"
        elif found and not _as_asked(found[0], command):
            yield f"{name}, became {found[0].what!r}: {found[0].after}"
        elif command.status == 200 and not told and not (command.verb == "rollback" and locked):
            yield f"{name}, is lost"
        elif command.status not in (None, 200) and found and not _under_a_rollback(found[0], changes, locked=locked):
            yield f"{name}, is in force all the same"


def _as_asked(entry: AuditEntry, command: Given) -> bool:
    if command.verb == "rollback":
        return _is_locked(entry)
    return not _is_locked(entry) and (command.verb != "percentage" or entry.after["percentage"] == command.percentage)


def _under_a_rollback(entry: AuditEntry, changes: Sequence[AuditEntry], *, locked: bool) -> bool:
    """A change being saved when a rollback came is refused; the rollback is on top of it, if only on the disk."""
    if locked and entry is changes[-1]:
        return True
    return any(_is_locked(later) for later in changes if later.revision == entry.revision + 1)


def _is_locked(entry: AuditEntry) -> bool:
    return entry.after["phase"] == "rolled_back"
