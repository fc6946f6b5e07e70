"""Numbers and times in words: units always, and nothing that is not quite everything is called everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout import formats


@pytest.mark.parametrize(
    ("say", "value", "text"),
    [
        (formats.count, 61_204, "61,204"),
        (formats.clock, 1_790_000_000.0, "14:13:20 UTC"),
        (formats.timestamp, 1_790_000_000.0, "2026-09-21 14:13:20 UTC"),
        (formats.toml_time, 1_790_000_000.9, "2026-09-21T14:13:20Z"),
        (formats.time_of_day, 1080, "18:00"),
        (formats.time_of_day, 1440, "24:00"),
        (formats.plan_duration, 604_800.0, "7d"),
        (formats.plan_duration, 5_490.9, "1h31m30s"),
        (formats.plan_duration, 0.5, "0s"),
        (formats.countdown, 1075.2, "17:56"),
        (formats.countdown, -5.0, "0:00"),
        (formats.countdown, 11_100.0, "3 h 05 min"),
        (formats.duration, 0.41, "0.4 s"),
        (formats.duration, 119.0, "119 s"),
        (formats.duration, 600.0, "10 min"),
        (formats.duration, 518_400.0, "6 d 0 h"),
        (formats.milliseconds, 3.14, "3.1 ms"),
        (formats.milliseconds, 41.2, "41 ms"),
        (formats.milliseconds, 1240.0, "1.24 s"),
        (formats.size, 39_936.0, "39.0 KiB"),
        (formats.size, 93_323_264.0, "89 MiB"),
        (formats.size, 12.0, "12 B"),
        (formats.percent, 0.0042, "0.42 %"),
        (formats.percent, 0.123, "12.3 %"),
        (formats.percent, 0.0, "0 %"),
        (formats.points, 0.0003, "+0.03 points"),
        (formats.points, -0.01, "\N{MINUS SIGN}1.00 points"),
        (formats.points, 0.0000001, "same"),
        (formats.times, 0.6, "0.6x"),
        (formats.times, 1240.0, "1,240x"),
        (formats.times, 0.0001, "under 0.01x"),
    ],
)
def test_each_value_has_its_unit(say: Callable[[float], str], value: float, text: str) -> None:
    assert say(value) == text


@pytest.mark.parametrize(
    ("part", "total", "text"),
    [
        (0, 10, "0 %"),
        (10, 10, "100 %"),
        (98, 1000, "9.8 %"),
        (1, 100_000, "under 0.1 %"),
        (99_999, 100_000, "over 99.9 %"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part: int, total: int, text: str) -> None:
    assert formats.share(part, total) == text


@pytest.mark.parametrize(
    ("new", "old", "text"), [(29, 38, "\N{MINUS SIGN}24 %"), (3, 0, "was 0"), (0, 0, "same"), (2, 1, "+100 %")]
)
def test_a_relative_change_needs_something_to_relate_to(new: float, old: float, text: str) -> None:
    assert formats.change(new, old) == text


def test_one_is_singular() -> None:
    assert [formats.plural(number, "session") for number in (0, 1, 1200)] == [
        "0 sessions",
        "1 session",
        "1,200 sessions",
    ]
