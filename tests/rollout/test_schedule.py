"""Freeze windows: when they hold, and when a row of them is over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rollout.schedule import Freeze, FreezeOnce, FreezeWeekly, frozen, frozen_until

DAY_S = 86_400


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


FRIDAY = at("2026-03-06T20:00")
WEEKEND = FreezeWeekly(("sat", "sun"))
EVENING = FreezeWeekly(("fri",), 18 * 60)
ONCE = FreezeOnce(FRIDAY, FRIDAY + 60)


@pytest.mark.parametrize(
    ("windows", "now", "until"),
    [
        ((), FRIDAY, None),
        ((WEEKEND,), FRIDAY, None),
        ((ONCE,), FRIDAY - 0.5, None),
        ((ONCE,), FRIDAY, FRIDAY + 60),
        ((ONCE,), FRIDAY + 60, None),
        ((EVENING,), FRIDAY, at("2026-03-07T00:00")),
        ((EVENING, WEEKEND), FRIDAY, at("2026-03-09T00:00")),
        ((WEEKEND, FreezeWeekly(("mon",), 60)), at("2026-03-08T23:59"), at("2026-03-09T00:00")),
        ((ONCE, EVENING), FRIDAY, at("2026-03-07T00:00")),
        ((FreezeOnce(FRIDAY, FRIDAY + 8 * DAY_S), WEEKEND), FRIDAY, at("2026-03-16T00:00")),
    ],
)
def test_a_row_of_windows_ends_with_its_last(windows: tuple[Freeze, ...], now: float, until: float | None) -> None:
    assert frozen_until(windows, now) == until
    assert frozen(windows, now) == (until is not None)
    if until is not None:
        assert not frozen(windows, until)


def test_a_plan_that_is_frozen_for_ever_has_an_answer_too() -> None:
    every_day = FreezeWeekly(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
    until = frozen_until((every_day,), FRIDAY)
    assert until is not None
    assert until >= FRIDAY + 7 * DAY_S
