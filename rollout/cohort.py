"""The bucket of a user: Unleash's normalised murmur3, in pure Python, so that a decision needs no engine.

A user is in the cohort of a percentage when the bucket is not above it, so a higher percentage only adds users.
"""

from __future__ import annotations

from typing import Final

BUCKETS: Final = 100
_MASK: Final = 0xFFFFFFFF
_C1: Final = 0xCC9E2D51
_C2: Final = 0x1B873593


def murmur3_32(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, unsigned.

    Source: Austin Appleby, SMHasher `MurmurHash3.cpp` (public domain).
    """
    state = 0
    length = len(data)
    body = length & ~3
    for start in range(0, body, 4):
        block = (int.from_bytes(data[start : start + 4], "little") * _C1) & _MASK
        block = ((block << 15 | block >> 17) * _C2) & _MASK
        state ^= block
        state = ((state << 13 | state >> 19) * 5 + 0xE6546B64) & _MASK
    if body != length:
        block = (int.from_bytes(data[body:], "little") * _C1) & _MASK
        state ^= ((block << 15 | block >> 17) * _C2) & _MASK
    state ^= length
    state = ((state ^ state >> 16) * 0x85EBCA6B) & _MASK
    state = ((state ^ state >> 13) * 0xC2B2AE35) & _MASK
    return state ^ state >> 16


def bucket(group_id: str, sticky: str) -> int:
    """The bucket of a sticky value, 1..100; the same in every process, for ever, until the group id changes.

    Source: Unleash client specification, `normalizedHash`: murmur3(f"{groupId}:{value}") % 100 + 1.
    """
    return murmur3_32(f"{group_id}:{sticky}".encode()) % BUCKETS + 1
