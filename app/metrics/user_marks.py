"""Users as 32-bit marks, by which cells tell a user that both of them serve from two users."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import mmh3

Marks = bytes
"""Users as 32-bit hashes. Of 10,000 users two share one with a chance of 1 in 86, and then count as one."""


def mark_of(user_id: str) -> int:
    """One user's mark."""
    return mmh3.hash(user_id)


def pack(users: Iterable[str]) -> Marks:
    """These users' marks."""
    return array("i", map(mmh3.hash, users)).tobytes()


def pack_marks(marks: Iterable[int]) -> Marks:
    """Users whose marks are known already."""
    return array("i", marks).tobytes()


def unpack(marks: Marks) -> frozenset[int]:
    """What `pack` packed, each user once."""
    return frozenset(array("i", marks))


def count_users(marks: Iterable[Marks]) -> int:
    """How many users these are together."""
    return len(frozenset[int]().union(*map(unpack, marks)))
