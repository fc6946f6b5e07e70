"""The counters count what happened, can be read over a period, and are cheap enough for every message."""

from __future__ import annotations

import math
import random
import statistics
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from app.metrics import counters as slots
from app.metrics import error_groups
from app.metrics.counters import BUCKETS, WINDOW_S, Counters, Tally, bucket_of, bucket_start_s, quantile_ms
from app.metrics.error_groups import GROUPS, KEPT_S, USERS, ErrorGroups


def quantile_of(tally: Tally, share: float) -> float | None:
    """In milliseconds."""
    return quantile_ms([tally.histogram.get(index, 0) for index in range(BUCKETS)], share)


@given(st.floats(min_value=2**-15, max_value=511.99))
def test_a_duration_lies_in_its_bucket_and_the_bucket_is_narrow(seconds: float) -> None:
    index = bucket_of(seconds)
    assert bucket_start_s(index) <= seconds < bucket_start_s(index + 1)
    assert bucket_start_s(index + 1) / bucket_start_s(index) <= 1 + 1 / 32


@pytest.mark.parametrize(
    ("seconds", "index"), [(0.0, 0), (-1.0, 0), (1e-9, 0), (512.0, BUCKETS - 1), (1e6, BUCKETS - 1)]
)
def test_what_no_bucket_holds_falls_into_the_first_or_last(seconds: float, index: int) -> None:
    assert bucket_of(seconds) == index
    counters = Counters()
    counters.message("v2", "http", "ok", seconds)
    assert counters.slots[slots.HISTOGRAM["v2"] + index] == 1


@given(st.floats(min_value=-1.0, max_value=1000.0))
def test_the_hot_path_chooses_the_same_bucket(seconds: float) -> None:
    counters = Counters()
    counters.message("v3", "websocket", "error", seconds)
    assert counters.slots[slots.HISTOGRAM["v3"] + bucket_of(seconds)] == 1


def test_no_two_counters_share_a_slot() -> None:
    single = [*slots.MESSAGES.values(), *slots.ADMISSIONS.values(), *slots.HANDOVERS.values()]
    single += [slots.STALE, slots.HANDOVER_MICROSECONDS, *slots.MICROSECONDS.values()]
    ranges = [*slots.HISTOGRAM.values(), slots.HANDOVER_HISTOGRAM]
    every = single + [start + offset for start in ranges for offset in range(BUCKETS)]
    assert sorted(every) == list(range(slots.SLOTS))


def test_quantiles_are_within_their_stated_error() -> None:
    chance = random.Random(1)
    counters = Counters()
    durations = sorted(chance.lognormvariate(-4, 1) for _ in range(20_000))
    for duration in durations:
        counters.message("v2", "websocket", "ok", duration)
    tally = counters.tally("v2", 1.0)
    for share in (0.5, 0.99):
        exact = durations[math.ceil(share * len(durations)) - 1] * 1000
        assert quantile_of(tally, share) == pytest.approx(exact, rel=0.016)


def test_a_quantile_of_nothing_is_no_data() -> None:
    assert quantile_ms([0] * BUCKETS, 0.5) is None
    assert Counters().tally("v3", 5.0) == Tally(5.0, 0, 0, 0, 0, 0.0, {})


def test_interrupted_and_rejected_messages_have_no_duration() -> None:
    counters = Counters()
    for outcome in ("ok", "ok", "ok", "error", "interrupted", "rejected"):
        counters.message("v3", "websocket", outcome, 0.01)
    assert counters.tally("v3", 1.0) == Tally(1.0, 3, 1, 1, 1, 0.0, {bucket_of(0.01): 4})
    assert counters.tally("v2", 1.0) == Tally(1.0, 0, 0, 0, 0, 0.0, {})


def test_a_window_forgets_what_is_older_than_fifteen_minutes() -> None:
    counters = Counters(now=0.0)
    counters.message("v2", "websocket", "error", 1.0)
    counters.tick(1.0)
    for second in range(2, WINDOW_S + 1):
        counters.message("v2", "websocket", "ok", 0.001)
        counters.tick(float(second))
    whole = counters.tally("v2", 900.0)
    assert (whole.ok, whole.errors) == (899, 1)
    counters.tick(float(WINDOW_S + 1))
    assert counters.tally("v2", 901.0) == Tally(900.0, 899, 0, 0, 0, 0.9, {bucket_of(0.001): 899})


def test_a_window_begins_at_its_mark_and_never_before_the_ring() -> None:
    counters = Counters(now=0.0)
    counters.message("v3", "websocket", "error", 1.0)
    mark = counters.mark(10.0)
    counters.message("v3", "websocket", "ok", 0.002)
    since = counters.tally("v3", 20.0, mark)
    assert (since.ok, since.errors) == (1, 0)
    whole = counters.tally("v3", 20.0)
    assert (whole.ok, whole.errors) == (1, 1)
    for second in range(1, WINDOW_S + 20):
        counters.tick(float(second))
    after = counters.tally("v3", WINDOW_S + 19.0, mark)
    assert (after.ok, after.errors) == (0, 0)


def test_the_rate_is_the_mean_of_the_last_ten_seconds() -> None:
    counters = Counters()
    for second in range(1, 31):
        for _ in range(5 if second <= 20 else 20):
            counters.message("v2", "websocket", "ok", 0.001)
        counters.message("v2", "websocket", "rejected")
        counters.tick(float(second))
    assert counters.tally("v2", 30.0).messages_per_second == 20.0


def test_a_handover_is_counted_with_its_duration() -> None:
    counters = Counters()
    counters.handover("v3", "v2", "moved", 0.5)
    histogram = counters.slots[slots.HANDOVER_HISTOGRAM : slots.HANDOVER_HISTOGRAM + BUCKETS]
    assert [index for index, count in enumerate(histogram) if count] == [bucket_of(0.5)]
    assert counters.slots[slots.HANDOVERS["v3", "v2", "moved"]] == 1
    assert counters.slots[slots.HANDOVER_MICROSECONDS] == 500_000


def test_error_groups_are_bounded_and_keep_the_recent_ones() -> None:
    groups = ErrorGroups()
    for number in range(GROUPS + 5):
        groups.add("v3", "internal", f"f{number}", f"r{number}", "u", now=float(number))
        groups.add("v2", "internal", "f0", "again", "u", now=float(number))
    names = {(group.path, group.fingerprint) for group in error_groups.merge([groups.counts()])}
    assert len(names) == GROUPS
    assert ("v2", "f0") in names
    assert ("v3", f"f{GROUPS + 4}") in names
    assert ("v3", "f0") not in names


def test_an_error_group_ends_a_while_after_its_last_error() -> None:
    groups = ErrorGroups()
    groups.add("v3", "internal", "over", "r", "u", now=0.0)
    groups.add("v3", "internal", "again", "r", "u", now=0.0)
    groups.add("v3", "internal", "again", "r", "u", now=1.0)
    groups.forget(KEPT_S - 1)
    assert len(groups.counts()) == 2
    groups.forget(KEPT_S)
    assert [group.fingerprint for group in groups.counts()] == ["again"]
    groups.forget(2 * KEPT_S)
    assert groups.counts() == []


def test_errors_only_on_v3_come_first_and_users_are_bounded() -> None:
    groups = ErrorGroups()
    for number in range(USERS + 500):
        groups.add("v2", "internal", "both", "a", f"u{number}", now=1.0)
    groups.add("v3", "internal", "both", "b", "u1", now=2.0)
    groups.add("v3", "timeout", "new", "c", "u1", now=3.0)
    groups.add("v3", "timeout", "new", "d", "u1", now=4.0)
    first, *rest = error_groups.merge([groups.counts()])
    assert (first.fingerprint, first.only_on_v3, first.count, first.users) == ("new", True, 2, 1)
    assert (first.first_at, first.last_at, first.reference) == (3.0, 4.0, "d")
    assert not any(group.only_on_v3 for group in rest)
    assert rest[0].users == USERS


def test_a_message_costs_a_third_of_labelled_prometheus_metrics_at_most() -> None:
    """Compared side by side, because the time alone depends on what else the machine does."""
    counters, registry = Counters(), CollectorRegistry()
    total = Counter("messages", "compared with", ["path", "transport", "outcome"], registry=registry)
    duration = Histogram("seconds", "compared with", ["path"], registry=registry)

    def labelled() -> None:
        total.labels("v2", "websocket", "ok").inc()
        duration.labels("v2").observe(0.0123)

    def ours() -> None:
        counters.message("v2", "websocket", "ok", 0.0123)

    ratios = [timeit.timeit(labelled, number=2000) / timeit.timeit(ours, number=2000) for _ in range(25)]
    assert statistics.median(ratios) > 3
