"""Errors in groups: which errors occur, how often, for how many users; bounded in number and memory.

It keeps codes, fingerprints and references, never the text of a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from app.metrics.user_marks import Marks, count_users, mark_of, pack_marks
from rollout.names import CANARY, STABLE, PathName
from rollout.views import ErrorGroup

GROUPS = 200
"""Most groups that are kept; beyond that, the one not seen for longest is dropped."""
KEPT_S = 30 * 86_400.0
"""A group without a new error for so long is dropped, as charts go back no further."""
USERS = 1000
"""Most distinct users that are counted per group."""


class GroupCount(Struct, frozen=True, array_like=True):
    """One group in one cell; times in Unix seconds."""

    path: PathName
    code: str
    fingerprint: str
    count: int
    users: Marks
    first_at: float
    last_at: float
    reference: str


@dataclass(slots=True)
class _Group:
    first_at: float
    last_at: float
    reference: str
    count: int = 0
    users: set[int] = field(default_factory=set)


class ErrorGroups:
    """The groups of one cell, keyed by path, code and fingerprint."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        # In the order of their last error, oldest first: a group with a new error moves to the end.
        self._groups: dict[tuple[PathName, str, str], _Group] = {}

    def add(self, path: PathName, code: str, fingerprint: str, reference: str, user_id: str, *, now: float) -> None:
        """Count one error; `now` in Unix seconds."""
        key = (path, code, fingerprint)
        group = self._groups.pop(key, None) or _Group(now, now, reference)
        group.count += 1
        group.last_at = now
        group.reference = reference
        if len(group.users) < USERS:
            group.users.add(mark_of(user_id))
        if len(self._groups) >= GROUPS:
            del self._groups[next(iter(self._groups))]
        self._groups[key] = group

    def forget(self, now: float) -> None:
        """Drop the groups that are over; `now` in Unix seconds. Call it now and then."""
        while self._groups:
            key, group = next(iter(self._groups.items()))
            if now - group.last_at < KEPT_S:
                return
            del self._groups[key]

    def counts(self) -> list[GroupCount]:
        """All groups, in a form that can be merged with those of other cells."""
        return [
            GroupCount(
                path,
                code,
                fingerprint,
                group.count,
                pack_marks(group.users),
                group.first_at,
                group.last_at,
                group.reference,
            )
            for (path, code, fingerprint), group in self._groups.items()
        ]


def merge(of_cells: Iterable[Sequence[GroupCount]]) -> list[ErrorGroup]:
    """The groups of all cells, first those only on v3, which no cell has seen on v2."""
    groups: dict[tuple[PathName, str, str], list[GroupCount]] = {}
    for count in (count for cell in of_cells for count in cell):
        groups.setdefault((count.path, count.code, count.fingerprint), []).append(count)
    stable = {key[1:] for key in groups if key[0] == STABLE}
    merged = [_merged(counts, only_on_v3=key[0] == CANARY and key[1:] not in stable) for key, counts in groups.items()]
    return sorted(merged, key=lambda group: (not group.only_on_v3, -group.count))


def users_harmed(of_cells: Iterable[Sequence[GroupCount]]) -> int:
    """Distinct users with an error on v3; a lower bound, because a group counts at most `USERS`."""
    return count_users(count.users for cell in of_cells for count in cell if count.path == CANARY)


def _merged(counts: Sequence[GroupCount], *, only_on_v3: bool) -> ErrorGroup:
    last = max(counts, key=lambda count: count.last_at)
    return ErrorGroup(
        code=last.code,
        fingerprint=last.fingerprint,
        path=last.path,
        count=sum(count.count for count in counts),
        users=count_users(count.users for count in counts),
        only_on_v3=only_on_v3,
        first_at=min(count.first_at for count in counts),
        last_at=last.last_at,
        reference=last.reference,
    )
