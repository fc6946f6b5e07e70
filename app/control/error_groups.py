"""Errors by what they have in common, bounded in number and in memory: which occur, how often, for how many users.

It keeps codes, fingerprints and references, never a message's text; it must not know where errors come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dashboards.views import ErrorGroup
from rollout.names import Path

GROUPS = 200
"""More kinds of errors than this: the one not seen for longest is forgotten."""
USERS = 1000
"""Distinct users counted per group; more are not told apart."""


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
        # In the order of their last error, oldest first: a group that is hit moves to the end.
        self._groups: dict[tuple[Path, str, str], _Group] = {}

    def add(self, path: Path, code: str, fingerprint: str, reference: str, user_id: str, *, now: float) -> None:
        """Count one error; `now` in Unix seconds."""
        key = (path, code, fingerprint)
        group = self._groups.pop(key, None) or _Group(now, now, reference)
        group.count += 1
        group.last_at = now
        group.reference = reference
        if len(group.users) < USERS:
            group.users.add(hash(user_id))
        if len(self._groups) >= GROUPS:
            del self._groups[next(iter(self._groups))]
        self._groups[key] = group

    def view(self, since: float = 0.0) -> list[ErrorGroup]:
        """The groups with an error since then: those only on v3 first, then by count."""
        stable = {key[1:] for key in self._groups if key[0] == "v2"}
        groups = [
            ErrorGroup(
                code=code,
                fingerprint=fingerprint,
                path=path,
                count=group.count,
                users=len(group.users),
                only_on_v3=path == "v3" and (code, fingerprint) not in stable,
                first_at=group.first_at,
                last_at=group.last_at,
                reference=group.reference,
            )
            for (path, code, fingerprint), group in self._groups.items()
            if group.last_at >= since
        ]
        return sorted(groups, key=lambda group: (not group.only_on_v3, -group.count))

    def users_on(self, path: Path) -> int:
        """Distinct users with an error on a path, as far as the groups tell them apart."""
        return len(set().union(*(group.users for key, group in self._groups.items() if key[0] == path)))
