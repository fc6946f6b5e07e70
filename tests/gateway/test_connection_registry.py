"""How long connections wait and how many there are, by a clock that stands still until a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from app.gateway.connection_registry import HTTP_ROOM, ConnectionLimits, ConnectionRegistry, Stage


@dataclass
class Alarm:
    at: float
    call: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class HandClock:
    now: float = 1000.0
    alarms: list[Alarm] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object], /) -> Alarm:
        self.alarms.append(Alarm(when, callback))
        return self.alarms[-1]

    def pending(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms if not alarm.cancelled]

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [alarm for alarm in self.pending() if alarm.at <= end]:
            first = min(due, key=lambda alarm: alarm.at)
            self.alarms.remove(first)
            self.now = max(self.now, first.at)
            first.call()
        self.now = end


@dataclass(eq=False)
class Connected:
    """A connection that is gone as soon as it is ended."""

    registry: ConnectionRegistry
    address: str | None = "10.0.0.1"
    ended: str = ""

    def expire(self, stage: Stage) -> None:
        self._end(stage.value)

    def give_way(self) -> None:
        self._end("gave way")

    def _end(self, how: str) -> None:
        assert not self.ended, "it ends once"
        self.ended = how
        self.registry.lost(self)


LIMITS = ConnectionLimits(request_s=10, keep_alive_s=75, per_address=3, connections=5)


@dataclass
class Cell:
    clock: HandClock
    registry: ConnectionRegistry

    def open(self, count: int = 1, address: str | None = "10.0.0.1") -> list[Connected]:
        opened = [Connected(self.registry, address) for _ in range(count)]
        for each in opened:
            assert self.registry.opened(each)
        return opened


@pytest.fixture
def cell() -> Cell:
    clock = HandClock()
    return Cell(clock, ConnectionRegistry(LIMITS, clock))


@pytest.mark.parametrize(
    ("stage", "seconds"),
    [(None, 75), (Stage.RECEIVING, 10), (Stage.IDLE, 75), (Stage.STALLED, 30), (Stage.ENDING, 1)],
)
def test_each_wait_has_an_end(cell: Cell, stage: Stage | None, seconds: float) -> None:
    [one] = cell.open()
    if stage is not None:
        cell.registry.enter(one, stage)
    cell.clock.pass_(seconds - 0.1)
    before = one.ended
    cell.clock.pass_(0.2)
    assert (before, one.ended) == ("", (stage or Stage.SILENT).value)
    assert cell.registry.connections == 0


def test_a_wait_that_is_over_has_no_end(cell: Cell) -> None:
    answering, again = cell.open(2)
    cell.registry.enter(answering, Stage.RECEIVING)
    cell.registry.enter(again, Stage.RECEIVING)
    cell.clock.pass_(9)
    cell.registry.leave(answering)
    cell.registry.enter(again, Stage.RECEIVING)
    cell.clock.pass_(9)
    assert not answering.ended, "we answer it"
    assert not again.ended, "it is another request"
    cell.clock.pass_(2)
    assert again.ended


def test_one_address_has_few_silent_connections_and_the_oldest_of_them_go(cell: Cell) -> None:
    first = cell.open(2)
    cell.clock.pass_(2)
    speaking, *more = cell.open(3)
    cell.registry.enter(speaking, Stage.RECEIVING)
    cell.registry.leave(speaking)
    cell.clock.pass_(0.5)
    assert not any(each.ended for each in first), "a rush of clients is not silent yet"
    cell.clock.pass_(1)
    assert [each.ended for each in (*first, *more, speaking)] == ["gave way", "", "", "", ""]


def test_another_address_has_its_own_silent_connections(cell: Cell) -> None:
    [here] = cell.open(1)
    others = cell.open(3, "10.0.0.2")
    cell.clock.pass_(2)
    assert not any(each.ended for each in (here, *others))


def test_too_many_connections_and_the_one_that_waits_longest_gives_way(cell: Cell) -> None:
    kept = cell.open(1)[0]
    cell.registry.leave(kept)
    idle, receiving, *rest = cell.open(4)
    cell.clock.pass_(0.1)
    cell.registry.enter(receiving, Stage.RECEIVING)
    cell.clock.pass_(0.1)
    cell.registry.enter(idle, Stage.IDLE)
    cell.open(2)
    assert [each.ended for each in rest] == ["gave way"] * 2
    cell.open(1)
    assert (receiving.ended, idle.ended) == ("gave way", "")
    assert (cell.registry.connections, kept.ended) == (5, "")


def test_when_none_can_give_way_the_new_one_must(cell: Cell) -> None:
    for each in cell.open(5):
        cell.registry.leave(each)
    assert not cell.registry.opened(Connected(cell.registry))


def test_a_unix_socket_is_neither_counted_nor_closed_for_another(cell: Cell) -> None:
    local = cell.open(20, None)
    assert cell.registry.connections == 0
    cell.open(6, "10.0.0.9")
    cell.clock.pass_(2)
    assert not any(each.ended for each in local)
    gone = cell.registry.upgraded(local[0])
    gone()
    assert (cell.registry.connections, cell.registry.sockets) == (5 - 2, 0), "six, less one for room, less two silent"
    cell.clock.pass_(80)
    assert all(each.ended for each in local[1:]), "its waits end all the same"


def test_sockets_leave_room_for_requests() -> None:
    clock = HandClock()
    registry = ConnectionRegistry(ConnectionLimits(connections=HTTP_ROOM + 2), clock)
    gone = []
    for _ in range(2):
        assert not registry.full
        each = Connected(registry)
        registry.opened(each)
        gone.append(registry.upgraded(each))
    assert registry.full
    gone[0]()
    assert (registry.full, registry.sockets, registry.connections) == (False, 1, 1)


def test_after_a_pause_of_ours_what_came_meanwhile_is_read_first(cell: Cell) -> None:
    [one] = cell.open()
    cell.registry.enter(one, Stage.RECEIVING)
    cell.clock.now += 20
    cell.clock.pass_(0)
    before = one.ended
    cell.clock.pass_(0.1)
    assert (before, one.ended) == ("", "receiving"), "nothing had come"


def test_however_many_wait_there_is_one_timer(cell: Cell) -> None:
    for each in cell.open(5):
        cell.registry.enter(each, Stage.RECEIVING)
        cell.registry.enter(each, Stage.IDLE)
        assert len(cell.clock.pending()) == 1
