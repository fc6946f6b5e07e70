"""The guardrail `crashes`: two deaths of v3's workers within ten minutes fail it; a new build starts from none."""

from __future__ import annotations

import pytest

from app.metrics.crashes import WINDOW_S, Crashes, verdict_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failing(crashes: Crashes) -> bool:
    (verdict,) = crashes.verdicts()
    assert verdict.guardrail == "crashes"
    return verdict.verdict == "fail"


def test_two_deaths_fail_until_the_first_is_ten_minutes_old() -> None:
    clock = Clock()
    crashes = Crashes(clock)
    assert not failing(crashes)
    crashes.died()
    assert not failing(crashes)
    clock.now += WINDOW_S - 1
    crashes.died()
    assert failing(crashes)
    clock.now += 1
    assert not failing(crashes)


def test_of_many_deaths_the_last_two_count() -> None:
    clock = Clock()
    crashes = Crashes(clock)
    for _ in range(5):
        crashes.died()
    clock.now += WINDOW_S
    crashes.died()
    assert not failing(crashes)


def test_another_build_and_a_percentage_of_zero_begin_anew_and_a_ramp_does_not() -> None:
    crashes = Crashes(Clock())
    crashes.died()
    crashes.died()
    crashes.new_epoch(25)
    assert failing(crashes)
    crashes.new_epoch(0)
    assert not failing(crashes)
    crashes.died()
    crashes.died()
    crashes.forget()
    assert not failing(crashes)


@pytest.mark.parametrize(
    ("deaths", "detail"),
    [
        (0, "0 deaths of v3's workers in 10 min; 2 roll back"),
        (1, "1 death of v3's workers in 10 min; 2 roll back"),
        (2, "2 deaths of v3's workers in 10 min; 2 roll back"),
    ],
)
def test_the_verdict_says_how_many_died_and_how_many_roll_back(deaths: int, detail: str) -> None:
    assert verdict_of(deaths).detail == detail
