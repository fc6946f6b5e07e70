"""The control record as the store keeps it (JSON), and the audit entry that belongs to a change of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.store.port import StoredRecord
from rollout.errors import UnreadableRecord
from rollout.events import Audit, Effect
from rollout.record import from_dict, to_dict
from rollout.state import Rollout
from rollout.views import AuditEntry, PathFigures

MOMENT = (
    "build",
    "sessions",
    "users",
    "messages",
    "errors",
    "interrupted",
    "rejected",
    "p50_ms",
    "p99_ms",
    "memory_bytes",
)
"""What an audit entry keeps of each path's figures."""


def write_record(rollout: Rollout) -> StoredRecord:
    """The record as the store keeps it."""
    return StoredRecord(rollout.revision, msgspec.json.encode(to_dict(rollout)).decode())


def read_record(stored: StoredRecord) -> Rollout:
    """The record that `write_record` wrote. Raises `UnreadableRecord`."""
    try:
        values = msgspec.json.decode(stored.text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise UnreadableRecord(f"the record is damaged: {error}") from None
    return from_dict(values)


def entry_of(
    audit: Audit, source: str, before: Rollout, after: Rollout, *, figures: Sequence[PathFigures], now: float
) -> AuditEntry:
    """An entry of the audit; the store chooses its id."""
    return AuditEntry(
        id=0,
        at=now,
        who=audit.actor.name,
        role=audit.actor.role,
        source=source,
        what=audit.what,
        reason=audit.reason,
        revision=after.revision,
        before=place_of(before),
        after=place_of(after),
        figures={path.path: _moment(path) for path in figures},
    )


def audit_in(effects: Sequence[Effect]) -> Audit:
    """The audit among a transition's effects; every saved change has one."""
    return next(effect for effect in effects if isinstance(effect, Audit))


def place_of(rollout: Rollout) -> dict[str, object]:
    """Where a rollout stands, in the audit's words."""
    return {"phase": rollout.phase, "percentage": rollout.percentage, "stage": rollout.stage}


def _moment(path: PathFigures) -> dict[str, object]:
    """Counts are those since the percentage last changed, as everywhere."""
    return {name: getattr(path, name) for name in MOMENT}
