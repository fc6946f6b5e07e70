"""Users as 32-bit hashes, so that cells can count their users together and count one that both serve only once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import mmh3

Marks = bytes
"""Packed 32-bit hashes of users. Among 10,000 users, two share a hash with a chance of 1 in 86, and count as one."""


def mark_of(user_id: str) -> int:
    """The hash of one user."""
    return mmh3.hash(user_id)


def pack(users: Iterable[str]) -> Marks:
    """The packed hashes of these users."""
    return array("i", map(mmh3.hash, users)).tobytes()


def pack_marks(marks: Iterable[int]) -> Marks:
    """Hashes, packed."""
    return array("i", marks).tobytes()


def unpack(marks: Marks) -> frozenset[int]:
    """The hashes in `marks`, each once."""
    return frozenset(array("i", marks))


def count_users(marks: Iterable[Marks]) -> int:
    """The number of distinct users in all of these."""
    return len(frozenset[int]().union(*map(unpack, marks)))
