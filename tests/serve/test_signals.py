"""What a signal asks for: a stop said twice is one, a person's second Ctrl-C is another."""

from __future__ import annotations

import signal

import pytest

from app.serve import signals as signals_module
from app.serve.signals import AGAIN_S, Signals

TERM, INT, QUIT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP


@pytest.mark.parametrize(
    ("heard", "stopping", "at_once"),
    [
        ([], False, False),
        ([(0.0, HUP), (5.0, HUP)], False, False),
        ([(0.0, TERM)], True, False),
        ([(0.0, INT)], True, False),
        ([(0.0, TERM), (0.001, TERM), (60.0, TERM)], True, False),
        ([(0.0, INT), (0.001, INT), (0.9, INT)], True, False),
        ([(0.0, TERM), (0.001, INT)], True, False),
        ([(0.0, INT), (AGAIN_S, INT)], True, True),
        ([(0.0, TERM), (AGAIN_S, INT)], True, True),
        ([(0.0, HUP), (AGAIN_S, INT)], True, False),
        ([(0.0, QUIT)], True, True),
        ([(0.0, QUIT), (0.1, TERM)], True, True),
    ],
)
def test_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, heard: list[tuple[float, signal.Signals]], stopping: bool, at_once: bool
) -> None:
    signals = Signals()
    told: list[bool] = []
    signals.tell(lambda: told.append(signals.stopping))
    for at, number in heard:
        monkeypatch.setattr(signals_module, "monotonic", lambda at=at: at)
        signals._hear(number, None)
    assert (signals.stopping, signals.at_once) == (stopping, at_once)
    assert signals.hangups == sum(number is HUP for _, number in heard)
    assert len(told) == len(heard)


def test_what_came_before_anybody_listened_is_told_at_once() -> None:
    signals = Signals()
    signals._hear(TERM, None)
    told: list[bool] = []
    signals.tell(lambda: told.append(signals.stopping))
    assert told == [True]
