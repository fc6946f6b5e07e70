"""A cell that verifies rollbacks, with everything real but its sockets and the other cells, which the tests write.

It is called `b`, so that another may be the first by its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from app.control.clock import RolloutClock
from app.control.notifier import Notifier
from app.control.receipt import Receipt
from app.control.repository import Repository
from app.control.state import State
from app.control.verification import Verification
from app.flags.embedded import EmbeddedFlags
from app.fleet.bus import BusMessage, CellReport
from app.fleet.members import Fleet
from app.gateway.sweep import Sweep
from app.metrics.counters import Counters
from app.metrics.error_groups import GroupCount
from app.settings import Settings
from rollout.events import Actor, Rollback, Start
from rollout.machine import advance
from rollout.now import Now
from rollout.state import Rollout
from rollout.views import RollbackView
from tests.control.memory_cell import GROUP, MemoryCell
from tests.control.world import FragileStore
from tests.fleet.memory_bus import MemoryBus

ANN, BOB = Actor("ann", "manager"), Actor("bob", "oncall")
USERS = 10
WALL = 1_000_000.0
ID = "1-0"
"""Of the rollback of the first rollout."""
STARTED = advance(Rollout(), Start(actor=ANN, percentage=100, revision=0), Now(WALL - 60, 0.0)).state
ROLLED_BACK = advance(STARTED, Rollback(actor=BOB, reason="errors"), Now(WALL, 60.0)).state


class VerifyingCell:
    """Cell `b` at 100 %, with all users on v3, and `a` and `c` beside it."""

    def __init__(self, store: FragileStore, others: str = "ac") -> None:
        self.ticks = 0.0
        self.board: dict[str, MemoryBus] = {}
        self.bus = MemoryBus("b", self.board)
        for name in others:
            MemoryBus(name, self.board)
        self.fleet = Fleet("b", self.bus, lambda: self.ticks)
        self.fleet.present()
        self.cell = MemoryCell("b", USERS)
        self.flags = EmbeddedFlags(GROUP)
        clock = RolloutClock(lambda: self.ticks)
        self.repository = Repository(store, clock)
        self.state = State(self.cell, self.flags, Settings(), lambda: WALL, clock)
        self.counters = Counters()
        self.notifier = Notifier()
        self.observed = asyncio.Event()
        self.verification = Verification(
            cell=self.cell,
            fleet=self.fleet,
            state=self.state,
            counters=self.counters,
            repository=self.repository,
            notifier=self.notifier,
            observed=self.observed,
            clock=lambda: WALL + 5,
        )

    async def start(self) -> None:
        await self.flags.apply(STARTED)
        self.state.adopt(STARTED)
        self.state.publish()
        assert self.cell.on("v3") == USERS

    async def close(self) -> None:
        await self.verification.stop()
        await self.repository.flush()
        await self.flags.close()

    def roll_back(
        self, *, leader: str = "b", commanded_at: float | None = None, busy: int = 0, record: Rollout = ROLLED_BACK
    ) -> Sweep:
        """The rollback is in force and in the store, and this cell begins to observe; `busy` sessions stay until they
        finish."""
        self.keep_busy(busy)
        to_move = self.cell.on("v3")
        self.state.adopt(record)
        sweep = self.state.publish(rollback=True)
        self.begin(sweep, leader=leader, commanded_at=commanded_at, to_move=to_move)
        return sweep

    def begin(self, sweep: Sweep, *, leader: str, commanded_at: float | None = None, to_move: int = USERS) -> None:
        self.verification.begin(self.state.record, sweep, commanded_at, to_move=to_move, leader=leader, figures=[])

    def keep_busy(self, count: int) -> None:
        on_v3 = [session for session in self.cell.members if session.path == "v3"]
        for session in on_v3[:count]:
            session.busy = True

    def leave(self, name: str) -> None:
        """The process of that cell is gone."""
        self.board[name].leave()
        self.fleet.present()
        self.verification.present()

    def told(self, name: str = "a") -> list[BusMessage]:
        """What another cell hears from this one, for as long as it has not been asked for."""
        bus = self.board[name]
        messages = [msgspec.msgpack.decode(body, type=BusMessage) for _, body in bus.waiting]
        bus.waiting.clear()
        return messages

    @property
    def seen(self) -> RollbackView:
        """What pages show."""
        shown = self.verification.rollback()
        assert shown is not None
        return shown

    @property
    def verified(self) -> bool:
        return self.seen.verified_at is not None

    @property
    def receipt(self) -> Receipt:
        receipt = self.verification.receipt
        assert receipt is not None
        return receipt

    async def own_part(self) -> CellReport:
        """What this cell has observed, once it is complete."""
        await self.until(lambda: self.verification.own_report is not None and self.verification.own_report.done)
        report = self.verification.own_report
        assert report is not None
        return report

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():  # noqa: ASYNC110 - whatever comes true in a turn of the loop, not after a time
                await asyncio.sleep(0)

    async def turns(self) -> None:
        """Whatever a few turns of the loop could bring has happened."""
        for _ in range(20):
            await asyncio.sleep(0)


def begun(cell: str, *, id: str = ID, leader: str = "b", to_move: int = USERS) -> CellReport:
    """The rollback is in force in that cell, and its sessions are on their way; it has seen an error of its own."""
    return CellReport(id, to_move, 0, 0, 0, False, [error(f"only in {cell}")], leader)


def done(cell: str, *, id: str = ID, leader: str = "b", moved: int = USERS, closed: int = 0) -> CellReport:
    """That cell has seen its part complete."""
    return CellReport(id, moved, moved, closed, 1, True, [error(f"only in {cell}")], leader)


def error(fingerprint: str) -> GroupCount:
    return GroupCount("v3", "internal", fingerprint, 1, b"", 1.0, 1.0, "r1")


def clock_ms(since: float, at: float) -> float:
    return (at - since) * 1000
