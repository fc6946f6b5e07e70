"""What signals ask of a process that serves: a planned stop, a stop at once, or nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic
from types import FrameType

from app.link.spawn import let_signals_pass

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
AGAIN_S = 1.0
"""A second SIGINT this long after the first signal is somebody's second Ctrl-C, and not the same stop said twice.

A service manager, a shell and `timeout` all send one signal to a process and to its group.
"""


class Signals:
    """The signals of a process, from `hear` on. All handlers run in the main thread, between two steps of the loop.

    SIGTERM and SIGINT ask for a planned stop, however often they come; a second SIGINT after `AGAIN_S`, or SIGQUIT, for
    one at once. SIGHUP asks for nothing: settings are read at the start only, and a terminal may go away.
    """

    def __init__(self) -> None:
        self.stopping = False
        """A stop was asked for."""
        self.at_once = False
        """It must not wait for running messages."""
        self.hangups = 0
        self._first_at = 0.0
        self._told: Callable[[], None] | None = None

    def hear(self) -> None:
        """Handle the signals from now on, in the main thread. Those since this process was started arrive now."""
        for number in (*STOPS, signal.SIGHUP):
            signal.signal(number, self._hear)
        let_signals_pass()

    @staticmethod
    def over() -> None:
        """The stop is complete: a further signal must not end the process with another exit status.

        Ignored, because the interpreter takes handlers back before it ends.
        """
        for number in (*STOPS, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def tell(self, told: Callable[[], None]) -> None:
        """Call this after every signal, and now if one came before.

        It is called between any two steps of the main thread: it may set a flag and wake the loop, no more.
        """
        self._told = told
        if self.stopping or self.hangups:
            told()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if number == signal.SIGHUP:
            self.hangups += 1
        else:
            again = self.stopping and number == signal.SIGINT and now - self._first_at >= AGAIN_S
            self.at_once = self.at_once or again or number == signal.SIGQUIT
            if not self.stopping:
                self.stopping, self._first_at = True, now
        if self._told is not None:
            self._told()
