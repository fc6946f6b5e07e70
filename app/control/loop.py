"""The control loop of one cell: start, end, and what happens without a command.

Judging comes first and on its own: harm is acted on while everything else here waits for a store or a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import structlog

from app.control.change import Changes
from app.control.clock import SAVE_S, RolloutClock
from app.control.enforcer import Enforcer
from app.control.flag_writer import FlagWriter
from app.control.follower import Follower
from app.control.host_lock import HostLock
from app.control.notifier import Notifier
from app.control.ports import CellPort, Guard
from app.control.register import Register
from app.control.repository import Repository
from app.control.rollback import Rollbacks
from app.control.snapshots import Snapshots
from app.control.sources import Sources
from app.control.state import State
from app.control.sync import Sync
from app.control.verification import Verification
from app.control.views import builds_differ, verdicts
from app.data_folder import FolderWatch
from app.errors import StoreUnavailable
from app.fleet.bus import Bus
from app.fleet.lease import Lease, OnlyCell
from app.metrics.counters import Counters
from rollout.events import EVIDENCE, Publish, Rollback, Tick
from rollout.machine import advance
from rollout.names import CANARY

TICK_S = 1.0
log = structlog.get_logger()


class ControlLoop:
    """Call `open` first, `run` while the cell serves, `close` at the end."""

    def __init__(
        self,
        *,
        cell: CellPort,
        bus: Bus,
        state: State,
        host_lock: HostLock,
        folder: FolderWatch,
        flag: FlagWriter,
        repository: Repository,
        rollbacks: Rollbacks,
        verification: Verification,
        enforcer: Enforcer,
        follower: Follower,
        changes: Changes,
        sync: Sync,
        sources: Sources,
        register: Register | None,
        lease: Lease | OnlyCell,
        clock: RolloutClock,
        counters: Counters,
        guard: Guard,
        snapshots: Snapshots,
        notifier: Notifier,
        wakeup: asyncio.Event,
    ) -> None:
        self._cell = cell
        self._bus = bus
        self._state = state
        self._host_lock = host_lock
        self._folder = folder
        self._flag = flag
        self._repository = repository
        self._rollbacks = rollbacks
        self._verification = verification
        self._enforcer = enforcer
        self._follower = follower
        self._changes = changes
        self._sync = sync
        self._sources = sources
        self._register = register
        self._lease = lease
        self._clock = clock
        self._counters = counters
        self._guard = guard
        self._snapshots = snapshots
        self._notifier = notifier
        self._wakeup = wakeup

    @property
    def leads(self) -> bool:
        """Whether this cell takes the automatic steps for all."""
        return self._lease.held

    async def open(self) -> None:
        """Read lock and record, and put them in force. A lock means v2, and so does a store that is down.

        Raises `SettingError` when another cell is forced to something else.
        """
        self._bus.open(self._sync)
        if self._register is not None:
            await self._register.check()
        lock = await self._host_lock.find()
        await self._host_lock.reserve()
        sweep = self._state.publish() if lock is None else self._rollbacks.found(lock)
        await self._sources.start()
        with suppress(StoreUnavailable):
            async with self._repository.turn:
                await self._follower.take_up()
            if (receipt := await self._repository.receipt()) is not None:
                self._verification.restore(receipt)
        record = self._state.record
        if record.lock is not None:
            on_v3 = self._cell.path_state(CANARY).sessions
            self._verification.begin(record, sweep, None, to_move=on_v3, figures=self._snapshots.figures())
        self._bus.read()

    async def run(self) -> None:
        """Judge, tick once a second and talk to the other cells, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_for_ever("judging", self._judge_when_woken))
            group.create_task(_for_ever("a tick of the control loop", self._tick_in_a_second))
            group.create_task(_for_ever("keeping the lock on the disk", self._keep_lock_in_a_second))
            group.create_task(self._sync.run())
            if self._register is not None:
                group.create_task(self._register.run())

    async def close(self) -> None:
        """Stop observing, and write what still waits; every change was saved when it was made."""
        self._notifier.close()
        await self._sources.close()
        if self._clock.unsaved_s > 0:
            await self._save_clock()  # before another cell leads, which begins with what is saved
        await self._lease.release()
        if self._register is not None:
            await self._register.leave()
        await self._rollbacks.close()
        await self._repository.flush()

    # -- time ---------------------------------------------------------------------------------------------------------

    async def judge(self) -> None:
        """Roll back if there is harm: by what this cell has seen, or, where it leads, by what any cell has seen."""
        transition = advance(self._state.record, self._seen(), self._state.now())
        if any(isinstance(effect, Publish) and effect.rollback for effect in transition.effects):
            await self._rollbacks.order(Rollback(actor=EVIDENCE, reason=transition.state.reason), "evidence")

    async def tick(self) -> None:
        """Once a second: judge, follow the store, try again what failed; a cell that leads takes the next step."""
        self._counters.tick(monotonic())
        await self.judge()
        with suppress(StoreUnavailable):
            async with self._repository.turn:
                await self._follower.follow()
            await self._repository.flush()
        self._sources.check()
        await self._enforcer.retry()
        await self._lease.keep()
        self._clock.lead(self._lease.until)
        if self._lease.held:
            before = self._state.record
            await self._changes.step(self._seen())
            if self._state.record.revision != before.revision:
                self._sync.say()
        if self._clock.unsaved_s >= SAVE_S:
            await self._save_clock()

    async def _save_clock(self) -> None:
        if not self._repository.down:
            with suppress(StoreUnavailable):
                await self._repository.save_clock()

    def _seen(self) -> Tick:
        """What the guardrails say now; where this cell leads, in all cells."""
        snapshot = self._snapshots.take()
        seen = verdicts(snapshot) if self._lease.held else self._guard.verdicts()
        return Tick(
            verdicts={each.guardrail: each.verdict for each in seen},
            flag_known=self._flag.known,
            same_build=not builds_differ(snapshot),
        )

    async def _judge_when_woken(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await self._wakeup.wait()
        woken = self._wakeup.is_set()
        self._wakeup.clear()
        await self.judge()
        if woken:
            self._sync.say()

    async def keep_lock(self) -> None:
        """Look whether the data folder is there and the disk says what is in force; mend what can be mended."""
        with suppress(OSError):
            await self._folder.check()
        await self._enforcer.keep_lock()

    async def _keep_lock_in_a_second(self) -> None:
        """On its own, because neither the store nor a command may hold it up."""
        await self.keep_lock()
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await self._host_lock.answered.wait()
        self._host_lock.answered.clear()

    async def _tick_in_a_second(self) -> None:
        await self.tick()
        await asyncio.sleep(TICK_S)


async def _for_ever(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Repeat a step. An error in it is logged, and the next one follows after a second."""
    while True:
        try:
            await step()
        except Exception:
            log.exception(f"{what} failed")
            await asyncio.sleep(TICK_S)
