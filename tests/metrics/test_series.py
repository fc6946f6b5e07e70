"""Time series: gaps stay gaps, slots add up, and a restart keeps what was saved."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path as FilePath

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from app.control.history import SeriesHistory
from app.metrics.counters import Counters
from app.metrics.series import SPAN_S, Gauges, Point, SavedSlots, Series, Slot
from app.store.port import SeriesChunk
from rollout.events import Actor, Pause, Rollback, Start
from rollout.names import PATHS, PathName
from rollout.views import PathSeries, SeriesView, Span
from tests.control.world import World
from tests.store.stores import entry

ANN = Actor("ann", "manager")
START = 1_790_000_040.0
"""A full minute."""


@pytest_asyncio.fixture
async def world(tmp_path: FilePath) -> AsyncIterator[World]:
    made = await World.make(tmp_path)
    yield made
    await made.close()


class Minute:
    """Counters that are sampled once a second, from `START` on."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.series = Series(self.counters.slots)
        self.now = START

    def second(
        self, ok: int = 0, errors: int = 0, latency_s: float = 0.01, path: PathName = "v2", sessions: int = 5
    ) -> None:
        """Messages end, then the second is looked at."""
        for _ in range(ok):
            self.counters.message(path, "websocket", "ok", latency_s)
        for _ in range(errors):
            self.counters.message(path, "http", "error", latency_s)
        self.counters.message(path, "websocket", "rejected")
        gauges: dict[PathName, Gauges] = {"v2": Gauges(sessions, 1000.4, 5_000_000), "v3": Gauges(0, None, None)}
        self.series.sample(self.now, self.counters.slots, gauges)
        self.now += 1

    def view(self) -> SeriesView:
        return self.series.view("15m", self.now - 1)


def tail(series: PathSeries, points: int = 2) -> dict[str, list[float | None]]:
    return {name: list(getattr(series, name))[-points:] for name in series.__struct_fields__}


def test_five_seconds_are_one_point() -> None:
    minute = Minute()
    for number in range(5):
        minute.second(ok=3, errors=1, latency_s=0.01 if number < 4 else 0.2)
    view = minute.view()
    point = {name: values[0] for name, values in tail(view.paths["v2"], 1).items()}
    assert (point["messages"], point["errors"], point["sessions"]) == (20, 5, 5)
    assert point["p99_ms"] == pytest.approx(200, rel=0.02)
    assert point["p50_ms"] == pytest.approx((16 * 10 + 4 * 200) / 20, rel=0.02)
    assert (point["session_memory_bytes"], point["memory_bytes"]) == (1000, 5_000_000)
    assert view.start + view.points * view.step_s == START + 5
    assert view.points == 180


def test_no_message_is_no_latency_and_no_sight_is_no_point() -> None:
    minute = Minute()
    minute.second(ok=1)
    minute.now = START + 10
    minute.second()
    minute.now = START + 11
    path = tail(minute.view().paths["v2"], 3)
    assert path["messages"] == [1, None, 0]
    assert path["p99_ms"][1:] == [None, None]
    assert path["sessions"] == [5, None, 5]
    assert tail(minute.view().paths["v3"], 3)["sessions"] == [0, None, 0]
    assert tail(minute.view().paths["v3"], 3)["memory_bytes"] == [None, None, None]


def test_seconds_are_kept_for_an_hour_tens_for_a_day_and_minutes_for_a_month() -> None:
    hour, day = 3600, 24 * 3600
    series = Series(Counters().slots)
    gauges = Gauges(1, None, None)
    now = 1_000 * day
    drawn: tuple[tuple[int, int, Span, int], ...] = ((1, hour, "15m", 5), (10, day, "1h", 1), (60, 30 * day, "24h", 1))
    for step_s, kept_s, span, slots_a_point in drawn:
        newest = now // step_s
        numbers = range(newest - kept_s // step_s, newest + 1)
        point = {path: Point(1, 0, None, None, *gauges) for path in PATHS}
        series.restore([SavedSlots(step_s, [Slot(number, point) for number in numbers])])
        ends = (numbers[0] - 1, numbers[0], numbers[slots_a_point], newest)
        seen = [series.view(span, end * step_s).paths["v2"].messages[-1] for end in ends]
        assert seen == [None, slots_a_point - 1 or None, slots_a_point, 1]  # only the oldest slot is gone


def test_every_tier_counts_the_same_messages() -> None:
    minute = Minute()
    for _ in range(130):
        minute.second(ok=2, errors=1)
    for span in SPAN_S:
        path = minute.series.view(span, minute.now - 1).paths["v2"]
        assert sum(count or 0 for count in path.messages) == 390, span
        assert sum(count or 0 for count in path.errors) == 130, span


def test_what_is_older_than_its_tier_is_forgotten() -> None:
    minute = Minute()
    minute.second(ok=7)
    minute.now = START + 7200
    minute.second(ok=1)
    minute.second()
    # The same place of the ring of seconds, an hour or two later: a gap, not the old figure.
    old = minute.series.view("15m", START + 1)
    assert sum(count or 0 for count in old.paths["v2"].messages) == 0
    assert sum(count or 0 for count in minute.series.view("24h", minute.now).paths["v2"].messages) == 8


@settings(deadline=None)  # a busy machine is no defect
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 40)), max_size=40))
def test_points_never_invent_or_lose_a_message(seconds: list[tuple[int, int, int]]) -> None:
    minute = Minute()
    for ok, errors, pause_s in seconds:
        minute.second(ok, errors)
        minute.now += pause_s - 1
    if not seconds:
        return
    path = minute.series.view("1h", minute.now).paths["v2"]
    assert sum(count or 0 for count in path.messages) == sum(ok + errors for ok, errors, _ in seconds)
    for messages, p99 in zip(path.messages, path.p99_ms, strict=True):
        assert (p99 is None) == (not messages)
        assert p99 is None or math.isfinite(p99)


def test_what_was_finished_is_handed_out_once_and_can_be_taken_up() -> None:
    minute = Minute()
    for _ in range(70):
        minute.second(ok=1)
    saved = minute.series.finished()
    assert {chunk.step_s: len(chunk.slots) for chunk in saved} == {1: 69, 10: 6, 60: 1}
    assert minute.series.finished() == []
    again = Series(Counters().slots)
    again.restore(saved)
    path = again.view("15m", minute.now).paths["v2"]
    assert sum(count or 0 for count in path.messages) == 69


def test_what_was_seen_here_is_not_overwritten_by_what_was_kept() -> None:
    earlier, now = Minute(), Minute()
    earlier.second(ok=1)
    earlier.second()
    now.second(ok=5)
    now.second()
    now.series.restore(earlier.series.finished())
    assert sum(count or 0 for count in now.view().paths["v2"].messages) == 5


async def test_a_restart_keeps_the_charts(world: World) -> None:
    history = SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    await history.load()
    for _ in range(25):
        world.counters.message("v3", "websocket", "ok", 0.02)
        history.look()
        world.now += 1
    await history.save()
    again = SeriesHistory(world.cell, Counters(), world.store, lambda: world.now)
    await again.load()
    shown = await again.view("15m", world.control.repository)
    assert sum(count or 0 for count in shown.paths["v3"].messages) == 24
    latencies = [value for value in shown.paths["v3"].p99_ms if value is not None]
    assert latencies == pytest.approx([20.0] * len(latencies), rel=0.02)
    assert len(latencies) >= 5


async def test_a_store_that_is_down_costs_no_point(world: World) -> None:
    history = SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    world.store.fail(True)
    for _ in range(30):
        world.counters.message("v2", "websocket", "ok", 0.02)
        history.look()
        await history.save()
        world.now += 1
    shown = await history.view("15m", world.control.repository)
    assert sum(count or 0 for count in shown.paths["v2"].messages) == 30
    assert shown.marks == []
    world.store.fail(False)
    await history.save()
    again = SeriesHistory(world.cell, Counters(), world.store, lambda: world.now)
    await again.load()
    kept = await again.view("15m", world.control.repository)
    assert sum(count or 0 for count in kept.paths["v2"].messages) == 29


async def test_old_chunks_are_deleted(world: World) -> None:
    history = SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    for _ in range(3):
        history.look()
        world.now += 1
    await history.save()
    assert len(await world.store.load_series(world.cell.name)) == 1
    world.now += 7200
    history.look()
    world.now += 1
    history.look()
    await history.save()
    steps = [chunk.step_s for chunk in await world.store.load_series(world.cell.name) if chunk.step_s == 1]
    assert len(steps) == 1


async def test_every_command_and_note_is_a_mark(world: World) -> None:
    history = SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    await world.control.note(ANN, "before all of it", "page")
    world.now += 3600
    await world.control.execute(Start(actor=ANN, percentage=10, revision=0, reason="go"), "cli")
    await world.control.execute(Pause(actor=ANN, revision=1), "cli")
    await world.control.note(ANN, "support hears nothing bad", "page")
    await world.control.execute(Rollback(actor=ANN, reason="bad"), "cli")
    await world.store.append_audit(entry("token abc for ann", at=world.now, figures={}))
    marks = (await history.view("15m", world.control.repository)).marks
    assert [mark.word for mark in marks] == ["10 %", "pause", "note", "rolled back"]
    assert marks[2].reason == "support hears nothing bad"
    earlier = (await history.view("15m", world.control.repository, world.now - 3600)).marks
    assert [mark.reason for mark in earlier] == ["before all of it"]


async def test_marks_come_from_more_than_one_page_of_the_audit(world: World) -> None:
    history = SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    for number in range(45):
        await world.control.note(ANN, f"remark {number}", "page")
    marks = (await history.view("15m", world.control.repository)).marks
    assert [mark.reason for mark in marks] == [f"remark {number}" for number in range(45)]


async def test_a_part_of_the_charts_that_another_version_wrote_is_left_out(world: World) -> None:
    history = SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    for _ in range(25):
        world.counters.message("v3", "websocket", "ok", 0.02)
        history.look()
        world.now += 1
    await history.save()
    await world.store.save_series([SeriesChunk(world.cell.name, 1, 0, b"\xc1 of another version")], {})
    again = SeriesHistory(world.cell, Counters(), world.store, lambda: world.now)
    await again.load()
    shown = await again.view("15m", world.control.repository)
    assert sum(count or 0 for count in shown.paths["v3"].messages) == 24
