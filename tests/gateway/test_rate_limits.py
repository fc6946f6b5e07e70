"""Who sends or connects is known for as long as it matters, and a bucket that is in use has no second one beside it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.rate_limits import FORGOTTEN_AT_ONCE, TokenBucket, TokenBuckets


def test_keys_are_forgotten_when_their_bucket_is_full_again_and_not_before() -> None:
    buckets = TokenBuckets(per_second=2, burst=10)
    assert buckets.of("ann", 0.0).take(0.0, 4)
    assert buckets.of("bob", 0.0).take(0.0, 10)
    buckets.forget_full(1.9)
    assert len(buckets) == 2
    buckets.forget_full(2.0)
    assert len(buckets) == 1
    assert not buckets.of("bob", 2.0).take(2.0, 5), "of what was used only four are back"
    buckets.forget_full(60.0)
    assert len(buckets) == 0


def test_a_bucket_that_is_held_is_kept_however_full_it_is() -> None:
    buckets = TokenBuckets(per_second=1, burst=10)
    held = buckets.of("ann", 0.0)
    buckets.of("bob", 0.0)
    buckets.forget_full(100.0, in_use={"ann"})
    assert buckets.of("ann", 100.0) is held
    assert len(buckets) == 1


def test_many_keys_take_several_turns_and_none_is_passed_over() -> None:
    buckets = TokenBuckets(per_second=1, burst=10)
    for number in range(3 * FORGOTTEN_AT_ONCE):
        buckets.of(f"u{number}", 0.0)
    held = {f"u{number}" for number in range(FORGOTTEN_AT_ONCE)}
    for left in (3, 3, 2, 1, 1):
        assert len(buckets) == left * FORGOTTEN_AT_ONCE
        buckets.forget_full(1.0, in_use=held)


STEPS = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from("abc"), st.sampled_from(["open", "send", "close", "forget"])),
    max_size=80,
)


@given(STEPS)
def test_nobody_gets_more_because_somebody_was_forgotten(steps: list[tuple[int, str, str]]) -> None:
    """Users open sessions, send and close them; beside it the same limit, which forgets nobody."""
    forgetful, perfect = (TokenBuckets(per_second=0.5, burst=4) for _ in range(2))
    sessions: dict[str, list[tuple[TokenBucket, TokenBucket]]] = {}
    now = 0.0
    for seconds, user, what in steps:
        now += seconds
        if what == "open":
            sessions.setdefault(user, []).append((forgetful.of(user, now), perfect.of(user, now)))
        elif what == "forget":
            forgetful.forget_full(now, in_use=sessions.keys())
        elif user in sessions and what == "send":
            bucket, like_it = sessions[user][-1]
            assert bucket.take(now) == like_it.take(now)
        elif user in sessions:
            sessions[user].pop()
            if not sessions[user]:
                del sessions[user]
