"""Numbers and times as text, in one place for pages, command line and plans.

Every value has its unit, digits are grouped, and nothing is more precise than helps. Where there is no number, the
caller says "no data".
"""

from __future__ import annotations

import math
from datetime import UTC, datetime


def count(number: int) -> str:
    """1234 → `1,234`."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 session`, `0 sessions`, `1,234 sessions`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def clock(at: float) -> str:
    """Unix seconds as `14:27:06 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def moment(at: float, now: float) -> str:
    """The time of day within 20 hours of now, else with the day: `14:27:06`, `2 May 14:27` (UTC)."""
    when = datetime.fromtimestamp(at, UTC)
    if abs(now - at) < 72_000:
        return when.strftime("%H:%M:%S")
    return f"{when.day} {when.strftime('%b %H:%M')}"


def day_clock(at: float) -> str:
    """Unix seconds as `23 Nov 14:27:06 UTC`, where days may differ."""
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day} {when.strftime('%b %H:%M:%S UTC')}"


def timestamp(at: float) -> str:
    """Unix seconds as `2026-09-21 14:13:20 UTC`, for texts that are read later and elsewhere."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def toml_time(at: float) -> str:
    """Unix seconds as a plan writes them: `2026-09-21T14:13:20Z`."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of_day(minute: int) -> str:
    """A minute of the day as a plan writes it: `18:00`; the end of the day is `24:00`."""
    return f"{minute // 60:02}:{minute % 60:02}"


def iso(at: float) -> str:
    """Unix seconds for the `datetime` attribute of a `time` element."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def countdown(seconds: float) -> str:
    """The time left: `17:56`, from an hour on `3 h 05 min`, from two days on `6 d 4 h`; never below zero."""
    whole = max(0, math.ceil(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return duration(whole)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `5 min`, `3 h 05 min`, `6 d 4 h`."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def plan_duration(seconds: float) -> str:
    """A duration as plans write it, exact to the second: `7d`, `1h30m`, `1m30s`; `0s` for none."""
    rest = int(seconds)
    parts = []
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, rest = divmod(rest, size_s)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def milliseconds(value: float) -> str:
    """`0.4 ms`, `3.1 ms`, `41 ms`, `1.24 s`."""
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def size(value: float) -> str:
    """Bytes as `39.0 KiB`, `89 MiB`, `1.20 GiB`."""
    for unit, scale, digits in (("GiB", 1 << 30, 2), ("MiB", 1 << 20, 0), ("KiB", 1 << 10, 1)):
        if abs(value) >= scale:
            return f"{value / scale:.{digits}f} {unit}"
    return f"{value:.0f} B"


def percent(rate: float) -> str:
    """A rate as `0.42 %`, from 10 % on `12.3 %`; exactly nothing and exactly all are `0 %` and `100 %`."""
    value = rate * 100
    if value in (0, 100):
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 10 else f"{value:.2f} %"


def share(part: float, total: float) -> str:
    """`part` of `total` (above zero) to a tenth: `9.8 %`, `10 %`; only nothing is `0 %` and only all is `100 %`."""
    tenth = round(part / total * 100, 1)
    if tenth in (0, 100) and part not in (0, total):
        return "under 0.1 %" if tenth == 0 else "over 99.9 %"
    return f"{tenth:.1f}".removesuffix(".0") + " %"


def points(difference: float) -> str:
    """The difference of two rates in percentage points: `+0.03 points`, `same`."""
    value = round(difference * 100, 2)
    return "same" if value == 0 else f"{signed(value, 2)} points"


def change(new: float, old: float) -> str:
    """`new` against `old` in percent, with its sign: `+12 %`, `same`; 3 after 0 has no percentage and is `was 0`."""
    if old == 0:
        return "same" if new == 0 else "was 0"
    value = round((new / old - 1) * 100)
    return "same" if value == 0 else f"{signed(value, 0)} %"


def signed(value: float, digits: int) -> str:
    """Always with its sign, and with a real minus."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{abs(value):.{digits}f}"  # noqa: RUF001


def times(value: float) -> str:
    """An e-value: `0.6x`, `38x`, `1,240x`."""
    if value >= 10:
        return f"{value:,.0f}x"
    return f"{value:.2g}x" if value >= 0.01 or value == 0 else "under 0.01x"
