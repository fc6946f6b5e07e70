"""The parent's half of the bus: who hears what, who is there, and what becomes of one that does not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from app.fleet.bus import BusMessage, CellFigures, Changed, Locked
from app.fleet.host_bus import HostBus
from app.fleet.hub import Hub
from rollout.state import Lock

LOCK = Lock(1, 0, 1.0, "bob", True, "errors")


class Listener:
    """Keeps what it hears; a `Changed` makes it fail when it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, BusMessage]] = []
        self.presents = 0
        self.fails = False

    def hear(self, sender: str, message: BusMessage) -> None:
        self.heard.append((sender, message))
        if self.fails and isinstance(message, Changed):
            raise RuntimeError("a mistake")

    def present(self) -> None:
        self.presents += 1


class Party:
    """A hub and the ends of three cells, of which each keeps what it hears."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.broken: list[str] = []
        self.hub = Hub(self.served.append, lambda name, error: self.broken.append(name))
        self.listeners: dict[str, Listener] = {}
        self.cells: dict[str, HostBus] = {}
        self.sockets: dict[str, socket.socket] = {}
        """The cells' ends."""

    def join(self, name: str, *, read: bool = True) -> HostBus:
        ours, theirs = socket.socketpair()
        self.hub.connect(name, ours)
        self.sockets[name] = theirs
        bus = self.cells[name] = HostBus(name, theirs)
        self.listeners[name] = Listener()
        if read:
            bus.open(self.listeners[name])
            bus.serving()
        return bus

    @property
    def heard(self) -> dict[str, list[tuple[str, BusMessage]]]:
        return {name: listener.heard for name, listener in self.listeners.items()}

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110 - whatever comes true in a turn of the loop, not after a time
                await asyncio.sleep(0)


@pytest_asyncio.fixture
async def party() -> AsyncIterator[Party]:
    party = Party()
    for name in "abc":
        party.join(name)
    await party.until(lambda: all(len(list(bus.others())) == 2 for bus in party.cells.values()))
    yield party
    party.hub.close()
    for bus in party.cells.values():
        bus.close()


async def test_a_message_reaches_all_others_or_the_one_it_is_for(party: Party) -> None:
    party.cells["a"].tell(Locked(LOCK))
    party.cells["b"].tell(Changed(7, "text"), "c")
    await party.until(lambda: len(party.heard["c"]) == 2)
    assert party.heard == {
        "a": [],
        "b": [("a", Locked(LOCK))],
        "c": [("a", Locked(LOCK)), ("b", Changed(7, "text"))],
    }


async def test_who_is_gone_is_known_to_all(party: Party) -> None:
    before = party.listeners["a"].presents
    party.hub.disconnect("b")
    await party.until(lambda: list(party.cells["a"].others()) == ["c"])
    assert party.listeners["a"].presents == before + 1


async def test_one_that_is_being_started_hears_of_a_lock_and_counts_when_it_serves(party: Party) -> None:
    late = party.join("d", read=False)
    party.cells["a"].tell(Locked(LOCK))
    await party.until(lambda: len(party.heard["b"]) == 1)
    assert list(party.cells["a"].others()) == ["b", "c"]
    late.open(party.listeners["d"])
    late.read()
    assert party.heard["d"] == [("a", Locked(LOCK))]
    late.serving()
    await party.until(lambda: list(party.cells["a"].others()) == ["b", "c", "d"])


async def test_one_that_does_not_read_costs_no_memory_and_misses_no_lock(party: Party) -> None:
    deaf = party.join("d", read=False)
    figures = CellFigures("p", 1, False, 0, "idle", 0.0, {}, {}, [10**6] * 50_000, 0, [])
    for count in range(1, 201):
        party.cells["a"].tell(figures)
        await party.until(lambda: len(party.heard["b"]) == count)  # noqa: B023 - awaited in this turn
    party.cells["a"].tell(Locked(LOCK))
    await party.until(lambda: ("a", Locked(LOCK)) in party.heard["b"])
    deaf.open(party.listeners["d"])
    await party.until(lambda: ("a", Locked(LOCK)) in party.heard["d"])
    kept = [message for _, message in party.heard["d"] if isinstance(message, CellFigures)]
    assert len(kept) < 5, "what the kernel takes, and one that did not fit any more"


async def test_a_message_that_fails_does_not_keep_the_next_one(party: Party) -> None:
    party.listeners["b"].fails = True
    party.cells["a"].tell(Changed(1, ""))
    party.cells["a"].tell(Locked(LOCK))
    await party.until(lambda: ("a", Locked(LOCK)) in party.heard["b"])


async def test_one_that_speaks_nonsense_is_to_be_ended_and_counts_until_it_is(party: Party) -> None:
    party.sockets["b"].send(b"\x05\x00\x00\x00nonsense")
    await party.until(lambda: party.broken == ["b"])
    party.hub.announce()
    party.cells["a"].tell(Locked(LOCK))
    await party.until(lambda: len(party.heard["c"]) == 1)
    assert list(party.cells["a"].others()) == ["b", "c"]
    party.hub.disconnect("b")
    await party.until(lambda: list(party.cells["a"].others()) == ["c"])
