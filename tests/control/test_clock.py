"""The rollout's clock in one cell, on a monotonic clock that only the test moves."""

from __future__ import annotations

import pytest

from app.control.clock import SAVE_S, RolloutClock


class Bench:
    """A clock and the time that it goes by."""

    def __init__(self, read_s: float = 100.0) -> None:
        self.now = 5_000.0
        self.clock = RolloutClock(lambda: self.now)
        self.clock.read(read_s)

    def leads_for(self, seconds: int) -> None:
        """So long, and the lease is renewed each second for three more."""
        self.clock.lead(self.now + 3)
        for _ in range(seconds):
            self.now += 1
            self.clock.lead(self.now + 3)


def test_a_leader_counts_every_second() -> None:
    bench = Bench()
    bench.leads_for(3_600)
    assert bench.clock.elapsed_s == 3_700
    bench.now += 0.5
    assert bench.clock.elapsed_s == 3_700.5


def test_what_is_not_saved_yet_is_what_a_leader_has_counted_since() -> None:
    bench = Bench()
    bench.now += 20
    assert bench.clock.unsaved_s == 0, "a cell that follows has nothing to save"
    bench.leads_for(20)
    assert bench.clock.unsaved_s == 20
    bench.clock.read(bench.clock.elapsed_s)
    assert bench.clock.unsaved_s == 0
    bench.leads_for(2)
    assert bench.clock.unsaved_s == 2
    bench.now += 60
    assert bench.clock.unsaved_s == 0, "whoever leads no longer has nothing to say"


def test_a_leader_counts_no_longer_than_it_leads() -> None:
    bench = Bench()
    bench.leads_for(10)
    bench.now += 3_600  # stood still, or lost the store
    assert bench.clock.elapsed_s == 113
    bench.clock.lead(bench.now + 3)
    assert bench.clock.elapsed_s == 113
    bench.now += 2
    assert bench.clock.elapsed_s == 115


def test_a_lease_that_is_over_is_none() -> None:
    bench = Bench()
    bench.leads_for(10)
    bench.now += 10
    bench.clock.lead(0.0)
    bench.clock.lead(bench.now)
    bench.now += 10
    assert bench.clock.elapsed_s == 113


def test_what_passed_before_it_led_does_not_count() -> None:
    bench = Bench()
    bench.now += 3_600
    bench.leads_for(5)
    assert bench.clock.elapsed_s == 105


def test_a_cell_that_follows_adds_what_the_leader_may_not_have_saved_yet() -> None:
    bench = Bench()
    for passed_s, elapsed_s in ((0, 100), (1, 101), (28, 129), (1, 130), (1, 130), (3_600, 130)):
        bench.now += passed_s
        assert bench.clock.elapsed_s == elapsed_s
    assert SAVE_S == 30


def test_the_first_thing_read_may_be_that_nothing_has_passed() -> None:
    bench = Bench(0.0)
    bench.now += 2
    assert bench.clock.elapsed_s == 2


def test_reading_the_same_again_is_no_news() -> None:
    bench = Bench()
    for _ in range(100):
        bench.now += 1
        bench.clock.read(100.0)
    assert bench.clock.elapsed_s == 130


def test_a_cell_that_follows_takes_over_what_was_saved() -> None:
    bench = Bench()
    bench.now += 40
    bench.clock.read(128.0)
    assert bench.clock.elapsed_s == 128
    bench.now += 10
    assert bench.clock.elapsed_s == 138


def test_a_leader_is_not_set_back_by_what_it_reads() -> None:
    bench = Bench()
    bench.leads_for(40)
    bench.clock.read(128.0)
    assert bench.clock.elapsed_s == 140


def test_a_leader_takes_over_what_a_cell_ahead_of_it_has_saved() -> None:
    bench = Bench()
    bench.leads_for(40)
    bench.clock.read(141.5)
    assert bench.clock.elapsed_s == 141.5
    bench.leads_for(1)
    assert bench.clock.elapsed_s == 142.5


def test_who_led_before_follows_the_one_who_leads_now() -> None:
    bench = Bench()
    bench.leads_for(40)
    bench.now += 60
    bench.clock.read(130.0)  # the other one began with what had been saved
    assert bench.clock.elapsed_s == 130
    bench.leads_for(5)
    assert bench.clock.elapsed_s == 135


@pytest.mark.parametrize("led_s", [0, 7])
def test_before_anything_was_read_it_begins_with_nothing(led_s: int) -> None:
    now = 10.0
    clock = RolloutClock(lambda: now)
    clock.lead(now + 100)
    now += led_s
    assert clock.elapsed_s == led_s
