"""The cohort hash is Unleash's, and every percent is about a hundredth of the users."""

from __future__ import annotations

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.cohort import bucket, murmur3_32


# Published test vectors of the reference implementation, seed 0.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"test", 0xBA6BD213),
        (b"Hello, world!", 0xC0363E43),
        (b"The quick brown fox jumps over the lazy dog", 0x2E4FF723),
    ],
)
def test_known_answers(data: bytes, expected: int) -> None:
    assert murmur3_32(data) == expected


@given(st.binary(max_size=80))
def test_pure_hash_equals_mmh3(data: bytes) -> None:
    assert murmur3_32(data) == mmh3.hash(data, 0, signed=False)


@given(st.text(max_size=40), st.text(max_size=40))
def test_bucket_equals_unleash(group_id: str, sticky: str) -> None:
    expected = mmh3.hash(f"{group_id}:{sticky}", 0, signed=False) % 100 + 1
    assert bucket(group_id, sticky) == expected
    assert 1 <= expected <= 100


def test_every_percent_adds_about_a_hundredth() -> None:
    counts = [0] * 101
    for number in range(20_000):
        counts[bucket("USE_WEBSOCKET_SUPERVISOR_V3", f"user-{number}")] += 1
    assert counts[0] == 0
    assert all(120 <= count <= 280 for count in counts[1:])


def test_another_group_reshuffles() -> None:
    users = [f"user-{number}" for number in range(2_000)]
    same = sum((bucket("a", user) <= 50) == (bucket("b", user) <= 50) for user in users)
    assert 850 <= same <= 1_150
