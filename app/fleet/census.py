"""Counts of the connected users and sessions, in few bytes, from which any percentage can be previewed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from msgspec import Struct

from app.gateway.ports import BucketRow
from app.metrics.user_marks import mark_of
from rollout.assign import FlagRule, View, assign
from rollout.names import CANARY, STABLE, PathName
from rollout.views import Preview

NEVER = 101
"""No percentage puts this user on v3."""


class Census(Struct, frozen=True, array_like=True):
    """Users and their sessions by the path they are on and by the lowest percentage that puts them on v3.

    Each list has a place for every percentage, and the last one for `NEVER`.
    """

    users: dict[PathName, list[int]]
    sessions: dict[PathName, list[int]]

    def preview(self, percentage: int) -> Preview:
        """Whom this percentage would move now."""
        v2_users, v2_sessions = self.users[STABLE][: percentage + 1], self.sessions[STABLE][: percentage + 1]
        v3_users, v3_sessions = self.users[CANARY][percentage + 1 :], self.sessions[CANARY][percentage + 1 :]
        return Preview(
            percentage=percentage,
            users_to_v3=sum(v2_users),
            users_to_v2=sum(v3_users),
            sessions_to_v3=sum(v2_sessions),
            sessions_to_v2=sum(v3_sessions),
        )


def take(rows: Iterable[BucketRow], view: View, group: str, elsewhere: Mapping[PathName, set[int]]) -> Census:
    """The census of these users, as if no lock were in force; `elsewhere` has the marks of users another cell counts.

    A flag's constraints are not looked at, only buckets: users whom constraints keep out count as moving.
    """
    census = _empty()
    places: dict[int, int] = {}  # by bucket, which is all that matters without a pin
    for user_id, bucket, path, sessions in rows:
        if user_id in view.pins:
            place = _place(user_id, bucket, view, group)
        elif (cached := places.get(bucket)) is None:
            place = places[bucket] = _place(user_id, bucket, view, group)
        else:
            place = cached
        census.sessions[path][place] += sessions
        if not elsewhere or mark_of(user_id) not in elsewhere.get(path, ()):
            census.users[path][place] += 1
    return census


def together(censuses: Iterable[Census]) -> Census:
    """Several cells as one."""
    total = _empty()
    for census in censuses:
        for mine, theirs in ((total.users, census.users), (total.sessions, census.sessions)):
            for path, counts in theirs.items():
                mine[path] = [one + more for one, more in zip(mine[path], counts, strict=True)]
    return total


def _place(user_id: str, bucket: int, view: View, group: str) -> int:
    def path_at(percentage: int) -> PathName:
        flag = FlagRule(group, percentage, bucket_only=True, enabled=True)
        return assign(user_id, replace(view, locked=False, flag=flag), bucket).path

    if path_at(0) == CANARY:
        return 0
    return bucket if path_at(100) == CANARY else NEVER


def _empty() -> Census:
    def nobody() -> dict[PathName, list[int]]:
        return {STABLE: [0] * (NEVER + 1), CANARY: [0] * (NEVER + 1)}

    return Census(nobody(), nobody())
