"""The two rules of a host: silence that counts, and restarts that back off."""

from __future__ import annotations

import pytest

from app.pool.liveness import CANARY_BACK_OFF, STABLE_BACK_OFF, Heartbeat, Restarts


def beat(heartbeat: Heartbeat, times: list[float], unstarted_s: float = 0.0) -> list[str | None]:
    return [heartbeat.tick(time, unstarted_s) for time in times]


def test_a_silent_worker_is_hung_after_the_limit_and_four_unanswered_pings() -> None:
    heartbeat = Heartbeat(ping_s=0.25, hang_s=1.0, unstarted_s=5)
    verdicts = beat(heartbeat, [0.25 * tick for tick in range(1, 7)])
    assert verdicts[:4] == [None] * 4
    assert verdicts[4] == "silent for 1.2 s (limit 1 s), 4 pings unanswered"


def test_four_pings_alone_do_not_hang_a_path_that_may_block_longer() -> None:
    heartbeat = Heartbeat(ping_s=0.25, hang_s=30, unstarted_s=5)
    verdicts = beat(heartbeat, [0.25 * tick for tick in range(1, 125)])
    assert next(index for index, verdict in enumerate(verdicts) if verdict is not None) == 120


def test_a_word_of_the_worker_ends_the_silence() -> None:
    heartbeat = Heartbeat(ping_s=0.25, hang_s=1.0, unstarted_s=5)
    for tick in range(1, 100):
        assert heartbeat.tick(0.25 * tick, 0.0) is None
        if tick % 4 == 0:
            heartbeat.heard()


def test_time_in_which_our_own_tick_was_late_is_no_silence() -> None:
    heartbeat = Heartbeat(ping_s=0.25, hang_s=1.0, unstarted_s=5)
    assert beat(heartbeat, [0.25, 0.5, 0.75, 60.0, 120.0, 120.25, 180.0]) == [None] * 7
    assert heartbeat.tick(180.25, 0.0) is not None


@pytest.mark.parametrize("answers", [True, False])
def test_a_worker_that_answers_but_starts_nothing_is_hung_and_one_that_is_silent_is_not_judged_by_that(
    answers: bool,
) -> None:
    heartbeat = Heartbeat(ping_s=0.25, hang_s=30, unstarted_s=5)
    verdicts = []
    for tick in range(1, 8):
        if answers:
            heartbeat.heard()
        verdicts.append(heartbeat.tick(0.25 * tick, 6.0))
    found = [index for index, verdict in enumerate(verdicts) if verdict is not None]
    assert found[:1] == ([3] if answers else [])


def test_a_large_age_after_a_pause_means_nothing_until_it_stays() -> None:
    heartbeat = Heartbeat(ping_s=0.25, hang_s=30, unstarted_s=5)
    for tick, age_s in ((0.25, 0.0), (20.0, 20.0), (20.25, 20.0), (20.5, 20.0), (20.75, 20.0), (21.0, 0.1)):
        heartbeat.heard()
        assert heartbeat.tick(tick, age_s) is None


def test_a_canary_s_back_off_doubles_to_five_seconds_and_begins_anew_after_a_minute() -> None:
    restarts = Restarts(CANARY_BACK_OFF, crash_limit=None, crash_window_s=600)
    waits = [restarts.died(0.0, 1.0) for _ in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert restarts.died(0.0, 59.9) == 5.0
    assert restarts.died(0.0, 60.0) == 0.1
    assert restarts.died(0.0, 1.0) == 0.1


def test_v2_starts_at_once_after_a_second_of_life_and_within_a_second_otherwise() -> None:
    restarts = Restarts(STABLE_BACK_OFF, crash_limit=None, crash_window_s=600)
    assert [restarts.died(0.0, uptime_s) for uptime_s in (1.0, 5.0, 1.0, 3600.0)] == [0.0] * 4
    assert [restarts.died(0.0, uptime_s) for uptime_s in (0.9, 0.0, 0.0, 0.0, 0.0)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert [restarts.died(0.0, uptime_s) for uptime_s in (1.0, 0.0)] == [0.0, 0.25]


def test_a_crash_loop_stays_down_until_reset() -> None:
    restarts = Restarts(CANARY_BACK_OFF, crash_limit=3, crash_window_s=600)
    assert [restarts.died(now, 1.0) for now in (0.0, 1.0, 2.0)] == [0.1, 0.2, None]
    assert restarts.died(3.0, 1.0) is None
    restarts.reset()
    assert restarts.died(4.0, 1.0) == 0.1


def test_deaths_outside_the_window_do_not_count() -> None:
    restarts = Restarts(CANARY_BACK_OFF, crash_limit=3, crash_window_s=600)
    assert None not in [restarts.died(now, 100.0) for now in (0.0, 400.0, 600.0, 1000.0, 1200.0)]
    assert restarts.died(1300.0, 100.0) is None
