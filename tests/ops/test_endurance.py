"""`make endurance` says what grew: its judgement, its picture and its options, on samples made here."""

from __future__ import annotations

from xml.etree import ElementTree

import msgspec
import pytest

from ops.endurance.__main__ import minutes_of
from ops.endurance.picture import picture_of
from ops.endurance.samples import MIB, SERIES, Sample, Series, judge

SVG = "{http://www.w3.org/2000/svg}"
FLAT = Sample(
    at_s=0.0,
    gateway_bytes=60 * MIB,
    workers_bytes=50 * MIB,
    gateway_descriptors=300,
    control_bytes=2 * MIB,
    sessions_bytes=20 * MIB,
    sessions=200,
)


def flat(count: int) -> list[Sample]:
    return [msgspec.structs.replace(FLAT, at_s=5.0 * number) for number in range(count)]


def test_what_stays_the_same_passes() -> None:
    assert {figure.verdict for figure in judge(flat(30))} == {"pass"}


def test_what_has_reached_its_bound_passes() -> None:
    filling = [
        msgspec.structs.replace(each, sessions_bytes=min(number, 20) * MIB) for number, each in enumerate(flat(60))
    ]
    assert {figure.verdict for figure in judge(filling)} == {"pass"}


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.field)
def test_each_series_that_grows_all_the_time_is_missed(series: Series) -> None:
    field = series.field
    growing = [
        msgspec.structs.replace(each, **{field: int(getattr(FLAT, field) * (1 + number / 3))})
        for number, each in enumerate(flat(30))
    ]
    missed = [figure.asked for figure in judge(growing) if figure.verdict == "MISSED"]
    assert missed == [f"{series.name}: median of the last third beside the third before"]


def test_a_run_that_was_too_short_is_not_judged() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        judge(flat(5))


def test_the_picture_has_a_line_a_series_and_a_point_a_sample() -> None:
    root = ElementTree.fromstring(picture_of(flat(12), "seed <1> & more"))
    lines = [line.attrib["points"].split() for line in root.iter(f"{SVG}polyline")]
    assert [len(points) for points in lines] == [12] * len(SERIES)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "seed <1> & more" in texts
    assert {series.name for series in SERIES} <= set(texts)


@pytest.mark.parametrize("text", ["", "x", "0", "-3", "nan", "1e9"])
def test_a_bad_length_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 1440"):
        minutes_of(text)
