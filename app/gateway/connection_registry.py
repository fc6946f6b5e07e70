"""The connections of one cell before, between and after their requests: how long each may wait, and how many there are.

A connection says where it stands; the registry tells it when its time is over, or when it has to give way to another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile
from math import inf
from typing import Protocol

HTTP_ROOM = 32
"""Connections that sockets leave free for requests, an operator's above all."""
PER_ADDRESS = 64
NEW_S = 1.0
"""A connection that has said nothing for so long counts as silent; in a rush of clients most are new for a moment."""
TOGETHER_S = 0.02
"""Those whose time is over within so long end together."""
UNREAD_S = 30.0
"""A client that reads too little of an answer for so long is cut off: what waits for it is 64 KiB, and its socket."""
LATE_S = 0.25
"""A timer this late says that we were busy, and clients may have spoken meanwhile."""
ENDING_S = 1.0
"""How long a client may take to read why it is refused, while what it still sends is thrown away."""


@dataclass(frozen=True)
class ConnectionLimits:
    """How long connections wait, in seconds, and how many there are."""

    request_s: float = 10.0
    keep_alive_s: float = 75.0
    unread_s: float = UNREAD_S
    per_address: int = PER_ADDRESS
    """Silent connections of one address."""
    connections: int = 100_000
    """Sockets, requests and unfinished connections together."""

    @property
    def sockets(self) -> int:
        """WebSockets among them."""
        return max(1, self.connections - HTTP_ROOM)

    @property
    def new_s(self) -> float:
        return min(NEW_S, self.keep_alive_s / 2)


class Stage(Enum):
    """What a connection waits for."""

    NEW = "new"
    """It was opened a moment ago."""
    SILENT = "silent"
    """It has never sent anything."""
    RECEIVING = "receiving"
    """A request has begun and is not whole."""
    IDLE = "idle"
    """Its requests are answered."""
    STALLED = "stalled"
    """The client does not read its answer."""
    ENDING = "ending"
    """It was refused, and has to read that."""


class Timer(Protocol):
    """What a loop's `call_at` gives."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an event loop that is needed here; times in its seconds."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class Waiting(Protocol):
    """A connection, as the registry sees it."""

    @property
    def address(self) -> str | None:
        """Whose it is; None on a Unix socket, which is neither counted nor closed for another."""

    def expire(self, stage: Stage) -> None:
        """Its time in this stage is over: end it."""

    def give_way(self) -> None:
        """Its place is needed: end it at once."""


class ConnectionRegistry:
    """One for the cell. Every call costs the same, however many connections there are."""

    def __init__(self, limits: ConnectionLimits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._seconds = {
            Stage.NEW: limits.new_s,
            Stage.SILENT: limits.keep_alive_s - limits.new_s,
            Stage.RECEIVING: limits.request_s,
            Stage.IDLE: limits.keep_alive_s,
            Stage.STALLED: limits.unread_s,
            Stage.ENDING: ENDING_S,
        }
        self._since: dict[Stage, dict[Waiting, float]] = {stage: {} for stage in Stage}
        """Since when each waits, the longest first, because all in a stage have the same time."""
        self._stages: dict[Waiting, Stage] = {}
        self._silent: dict[str, dict[Waiting, None]] = {}
        self._timer: Timer | None = None
        self._wakes_at = inf
        self._late = False
        """We were not there in time: what has come meanwhile is read first."""
        self.connections = 0
        """All that are counted, sockets among them."""
        self.sockets = 0

    @property
    def full(self) -> bool:
        """Whether no further socket may be opened."""
        return self.sockets >= self.limits.sockets

    def opened(self, connection: Waiting) -> bool:
        """Count a connection; another gives way if there are too many. False: none can, so this one must."""
        if connection.address is not None:
            self.connections += 1
            if self.connections > self.limits.connections and not self._make_room():
                return False
        self.enter(connection, Stage.NEW)
        return True

    def enter(self, connection: Waiting, stage: Stage) -> None:
        """It waits from now on, for something else than before."""
        self.leave(connection)
        now = self._clock.time()
        self._stages[connection] = stage
        self._since[stage][connection] = now
        if stage is Stage.SILENT:
            self._count_silent(connection)
        self._wake_at(now + self._seconds[stage])

    def leave(self, connection: Waiting) -> None:
        """It waits for nothing of its client."""
        stage = self._stages.pop(connection, None)
        if stage is None:
            return
        del self._since[stage][connection]
        if stage is Stage.SILENT and connection.address is not None:
            others = self._silent[connection.address]
            del others[connection]
            if not others:
                del self._silent[connection.address]

    def lost(self, connection: Waiting) -> None:
        """It is gone."""
        self.leave(connection)
        if connection.address is not None:
            self.connections -= 1

    def upgraded(self, connection: Waiting) -> Callable[[], None]:
        """It is a WebSocket from now on. Call what is returned when that is gone."""
        self.leave(connection)
        if connection.address is None:
            return lambda: None
        self.sockets += 1
        return self._socket_lost

    def _socket_lost(self) -> None:
        self.sockets -= 1
        self.connections -= 1

    def _count_silent(self, connection: Waiting) -> None:
        if connection.address is None:
            return
        ours = self._silent.setdefault(connection.address, {})
        ours[connection] = None
        if len(ours) > self.limits.per_address:
            oldest = next(iter(ours))
            self.leave(oldest)
            oldest.give_way()

    def _make_room(self) -> bool:
        """End the connection that has waited longest."""
        found: tuple[float, Waiting] | None = None
        for waiting in self._since.values():
            first = next((each for each in waiting if each.address is not None), None)
            if first is not None and (found is None or waiting[first] < found[0]):
                found = (waiting[first], first)
        if found is None:
            return False
        self.leave(found[1])
        found[1].give_way()
        return True

    def _wake_at(self, when: float) -> None:
        if when >= self._wakes_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(when, self._wake)
        self._wakes_at = when

    def _wake(self) -> None:
        now = self._clock.time()
        self._late = now - self._wakes_at > LATE_S and not self._late
        self._timer, self._wakes_at = None, inf
        if self._late:
            self._wake_at(now + TOGETHER_S)
            return
        for stage, waiting in self._since.items():
            begun = now - self._seconds[stage]
            for connection in _until(waiting, begun):
                self._end(connection, stage)
        nexts = [
            next(iter(waiting.values())) + self._seconds[stage] for stage, waiting in self._since.items() if waiting
        ]
        if nexts:
            self._wake_at(max(min(nexts), now + TOGETHER_S))

    def _end(self, connection: Waiting, stage: Stage) -> None:
        if stage is Stage.NEW:
            self.enter(connection, Stage.SILENT)
        else:
            self.leave(connection)
            connection.expire(stage)


def _until(waiting: dict[Waiting, float], latest: float) -> list[Waiting]:
    """Those that wait since then or longer."""
    return [connection for connection, _ in takewhile(lambda each: each[1] <= latest, waiting.items())]
