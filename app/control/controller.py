"""The control loop of one cell: owns the rollout record, carries out commands, and lets time do its part.

Decisions are `rollout`'s, keeping is the keeper's, sessions are the cell's; it must not know of HTTP or of SQL.

A command goes alone: decide, save, flag, cell; one that was still being saved when a rollback came has lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import msgspec
import structlog

from app.control.clock import RolloutClock
from app.control.deploy import Deployments
from app.control.enforcer import Enforcer
from app.control.following import Follower
from app.control.forgetting import Forgetting
from app.control.lockfile import LockFile
from app.control.ports import CellPort, Guard, NoGuard
from app.control.queries import FleetQueries
from app.control.receipt import Receipt
from app.control.record import audit_in
from app.control.register import Register
from app.control.repository import Repository
from app.control.rollback import ANSWER_S, Rollbacks
from app.control.state import Desk, log_notice
from app.control.sync import Sync
from app.control.views import Known, users_on, verdicts
from app.errors import StoreUnavailable
from app.flags import Flags
from app.fleet.bus import Bus, NoBus
from app.fleet.lease import Lease, OnlyCell
from app.fleet.members import Fleet
from app.fleet.queries import Abandon, Adopt, Prepare, Question
from app.fleet.rpc import HostRpc
from app.metrics.counters import Counters
from app.settings import Settings
from app.store.port import RevisionTaken, Store
from rollout.errors import NoWayBack, Refused, StaleRevision
from rollout.events import (
    EVIDENCE,
    Actor,
    ApplyPlan,
    Audit,
    NewEpoch,
    Notify,
    Pause,
    Promote,
    Publish,
    Resume,
    Rollback,
    SetPercentage,
    Start,
    Tick,
    Transition,
    Undo,
    Unlock,
    WriteFlag,
)
from rollout.machine import advance
from rollout.names import CANARY, STABLE, PathName
from rollout.permissions import check_load, require
from rollout.state import UNDO_S, Rollout
from rollout.views import Loaded

Change = Start | SetPercentage | Promote | Pause | Resume | Undo | Unlock | ApplyPlan
"""Every command but a rollback."""

TICK_S = 1.0
TIMELINE = 200
TIMELINE_S = 24 * 3600
"""A receipt shows the audit of the day before a rollback, at most so many entries of it, and until it can be undone."""
log = structlog.get_logger()


class Controller:
    """The record of this cell and what may be done with it: `open` first, `run` meanwhile, `close` at the end."""

    def __init__(
        self,
        *,
        cell: CellPort,
        store: Store,
        flags: Flags,
        lock_file: LockFile,
        ledger: Counters,
        settings: Settings,
        guard: Guard | None = None,
        notify: Callable[[Notify], None] = log_notice,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        bus: Bus | None = None,
        lease: Lease | None = None,
        host: str = "",
    ) -> None:
        """Without a bus it is the only cell of its host, without a lease the only one there is.

        `host` is named when cells of other hosts may share the store. `clock` gives Unix seconds.
        """
        rollout_clock = RolloutClock(monotonic)
        self._desk = Desk(
            cell=cell,
            fleet=Fleet(cell.name, bus or NoBus()),
            keeper=Repository(store, rollout_clock),
            force=Enforcer(cell, flags, lock_file, settings, clock),
            ledger=ledger,
            settings=settings,
            guard=guard or NoGuard(),
            notify=notify,
            clock=clock,
            rollout_clock=rollout_clock,
            mark=ledger.mark(time.monotonic()),
        )
        self._rollbacks = Rollbacks(self._desk)
        self._follower = Follower(self._desk, self._rollbacks)
        self.cell = cell
        self.ledger = ledger
        self.keeper = self._desk.keeper
        self.changes = self._desk.changes
        self._force = self._desk.force
        self._lease = lease or OnlyCell(monotonic)
        self._hurried = asyncio.Event()
        self.fleet = self._desk.fleet
        self.loads = Deployments(self.fleet, settings.start_s)
        asking = self.loads.asking = HostRpc(self.fleet, self._answer)
        self.everyone = FleetQueries(self.fleet, asking, self.known)
        self.exchange = Sync(self._desk, self._rollbacks, asking, self._follower.follow)
        self.exchange.on_present = self.loads.gone
        self.exchange.on_verdicts = self._hurried.set
        self._registry = Register(store, host, self._desk, self._rollbacks) if host else None
        self._forgetting = Forgetting(store, self._desk, self._look_at_cells)

    @property
    def state(self) -> Rollout:
        """The record in force."""
        return self._force.state

    @property
    def ready(self) -> bool:
        """Whether the record is known and v2 serves."""
        return self.keeper.loaded and self.cell.path_state(STABLE).available

    def known(self) -> Known:
        """All that a view is made of, now."""
        return self._desk.known(self._rollbacks.watch.rollback())

    # -- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read lock and record, and put in force what they say. A lock means v2, and so does a store that is down.

        Raises `SettingError` when another cell is forced to something else.
        """
        if self._registry is not None:
            await self._registry.check()
        lock = await self._force.find_lock()
        if lock is not None:
            self._rollbacks.found(lock)
        sweep = self._force.publish(rollback=lock is not None)
        with contextlib.suppress(StoreUnavailable):
            async with self._desk.changing:
                await self._follower.follow()
            if (receipt := await self.keeper.receipt()) is not None:
                self._rollbacks.watch.restore(receipt)
        if self.state.lock is not None:
            on_v3 = self.cell.path_state(CANARY).sessions
            self._rollbacks.observe(sweep, None, on_v3, figures=self._desk.figures())

    async def run(self) -> None:
        """Tick once a second and talk to the other cells until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick_for_ever())
            group.create_task(self.exchange.run())
            if self._registry is not None:
                group.create_task(self._registry.run())

    async def _tick_for_ever(self) -> None:
        """An error in one tick is logged, and the next one comes."""
        while True:
            try:
                await self.tick()
            except Exception:
                log.exception("a tick of the control loop failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._hurried.wait()
            self._hurried.clear()

    def hurry(self) -> None:
        """Something happened that a guardrail may judge: neither this cell nor another waits for the next second."""
        self._hurried.set()
        self.exchange.say()

    async def close(self) -> None:
        """Watch no longer, and write what still waits; every change was saved when it was made."""
        self.changes.close()
        await self._lease.release()
        if self._registry is not None:
            await self._registry.leave()
        await self._rollbacks.close()
        await self.keeper.flush()

    # -- commands -------------------------------------------------------------------------------------------------

    async def execute(self, command: Change | Rollback, source: str) -> None:
        """Do what somebody asks for; `source` says from where, for the audit.

        Raises Refused (nothing changed, or a rollback won meanwhile), and StoreUnavailable, but not for a rollback.
        """
        if isinstance(command, Rollback):
            await self._rollbacks.order(command, source)
            return
        if isinstance(command, Unlock):
            command = replace(command, flag_percentage=self._force.flags.percentage())
        async with self._turn():
            if command.revision is not None and command.revision > self.state.revision:
                await self._follower.follow()  # somebody has seen more than this cell has
            await self._change(command, source)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold `changing` while no rollback of just now is on its way to the store; it is waited for a second."""
        end = time.monotonic() + ANSWER_S
        while True:
            await self._rollbacks.saved()
            async with self._desk.changing:
                await self._rollbacks.settle()
                if self._rollbacks.unsaved is None or self.keeper.down or time.monotonic() >= end:
                    yield
                    return

    async def load(
        self, actor: Actor, *, factory: str, python: str, build: str, live: bool, reason: str, source: str
    ) -> Loaded:
        """A new build of v3 for the sessions that are there and for those that come.

        In all cells of this host or in none. Raises Refused, FactoryError, StateIncompatible (nothing changed, unless
        the error says so) and StoreUnavailable (it is loaded).
        """
        require(actor, "load")
        check_load(self.state, users_on_v3=users_on(self.known(), CANARY), live=live)
        loaded = await self.loads.load(factory, python, build)
        self.changes.tell()
        self.exchange.say()
        what = f"load v3 build {loaded.build} in place of {loaded.previous_build or 'none'}"
        await self.keeper.append(self._desk.entry(Audit(actor, what, reason), source, self.state, self.state))
        return loaded

    async def _answer(self, question: Question, cell: str) -> object:
        """For this cell alone, to the cell that asks. Raises as `load`."""
        match question:
            case Prepare():
                return await self.loads.prepare(question, cell)
            case Adopt():
                loaded = await self.loads.adopt(question)
                self.changes.tell()
                self.exchange.say()
                return loaded
            case Abandon():
                await self.loads.abandon(cell)
                return None
            case _:
                return self.everyone.answer(question)

    async def note(self, actor: Actor, text: str, source: str) -> None:
        """A remark for the audit and the charts. Raises NotAllowed and StoreUnavailable."""
        require(actor, "note")
        await self.keeper.append(self._desk.entry(Audit(actor, "note", text), source, self.state, self.state))

    async def pin(self, actor: Actor, user_id: str, path: PathName | None, reason: str, *, source: str) -> None:
        """Pin a user to a path, or with None unpin. Raises NotAllowed and StoreUnavailable."""
        require(actor, "pin")
        what = f"unpin {user_id}" if path is None else f"pin {user_id} to {path}"
        async with self._desk.changing:
            entry = self._desk.entry(Audit(actor, what, reason), source, self.state, self.state)
            await self.keeper.save_pin(user_id, path, entry)
            await self._follower.follow_pins()
        self.exchange.pins_changed()

    async def forget(self, actor: Actor, cell: str, reason: str, source: str) -> None:
        """Give up a cell of another host; see `Forgetting.forget`."""
        await self._forgetting.forget(actor, cell, reason, source)

    async def _look_at_cells(self) -> None:
        if self._registry is not None:
            await self._registry.load()

    async def receipt(self, id: str) -> Receipt | None:
        """What a rollback did, with the audit around it; None: there was none of this id. Raises StoreUnavailable."""
        watched = self._rollbacks.watch.receipt
        found = watched if watched is not None and watched.rollback.id == id else await self.keeper.receipt(id)
        if found is None:
            return None
        entries = (await self.keeper.events(None, TIMELINE)).items
        end = found.rollback.at + UNDO_S
        timeline = [entry for entry in reversed(entries) if found.rollback.at - TIMELINE_S <= entry.at <= end]
        given_up = await self._forgetting.during(found.rollback)
        return msgspec.structs.replace(found, timeline=timeline, given_up=given_up)

    async def _change(self, event: Change | Tick, source: str) -> None:
        """Decide, save, flag, cell; `changing` is held. Raises Refused and StoreUnavailable."""
        self._require_record()
        base = self.state
        transition = advance(base, event, self._desk.now())
        if transition.state.revision == base.revision:
            return  # somebody else was faster, and there is nothing left to do
        if transition.state.percentage > base.percentage and self.loads.builds is not None:
            why_not = await self.loads.builds.check_way_back()
            if why_not is not None:
                raise NoWayBack(why_not)
            if self._overtaken(base):
                await self._catch_up()
                raise self._stale(base)
        entry = self._desk.entry(audit_in(transition.effects), source, base, transition.state)
        try:
            await self.keeper.save(transition.state, entry)
        except RevisionTaken:
            await self._follower.follow()
            raise self._stale(base) from None
        if self._overtaken(base):
            # It is in the record and the audit, with the rollback on top of it, and was never in force.
            await self._catch_up()
            return
        self._force.state = transition.state
        await self._carry_out(base, transition)
        self.changes.tell()
        self.exchange.say()

    async def _carry_out(self, base: Rollout, transition: Transition) -> None:
        """After the save. The flag comes before the sessions, because their view is made of what it reads."""
        state = transition.state
        if base.lock is not None and state.lock is None:
            await self._rollbacks.watch.stop()
            await self._force.settle_lock()
        if any(isinstance(effect, WriteFlag) for effect in transition.effects):
            await self._force.write_flag()
        if self.state is not state:
            return  # a rollback came in between and has swept already
        for effect in transition.effects:
            if isinstance(effect, Publish):
                self._force.publish()
            elif isinstance(effect, NewEpoch):
                self._desk.new_epoch(state.percentage)
        self._desk.tell(transition.effects)

    def _require_record(self) -> None:
        if not self.keeper.loaded:
            raise StoreUnavailable("the record could not be read yet; only a rollback works without the store")
        if self._rollbacks.unsaved is not None:
            raise StoreUnavailable("a rollback is in force and not in the store yet; nothing else is taken before it")

    def _overtaken(self, base: Rollout) -> bool:
        """Whether a rollback came since `base` was looked at: it does not wait for others."""
        return self._rollbacks.unsaved is not None or self.state.revision != base.revision

    async def _catch_up(self) -> None:
        """Take over the rollback that came in between, as the store has it then. Raises nothing."""
        with contextlib.suppress(StoreUnavailable):
            await self._follower.follow()

    def _stale(self, base: Rollout) -> StaleRevision:
        """Who was faster: whoever the store names, or a rollback that it does not know yet."""
        stored = self.keeper.stored
        now = stored if stored is not None and stored.revision > base.revision else self.state
        return StaleRevision(base.revision, now.revision, now.changed_by, now.changed_what, now.changed_at)

    # -- time -----------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """One second passed: follow the store, try again what did not hold, let time and evidence decide."""
        self.ledger.tick(time.monotonic())
        with contextlib.suppress(StoreUnavailable):
            async with self._desk.changing:
                await self._follower.follow()
            await self.keeper.flush()
        await self._force.retry()
        await self._lease.keep()
        self._desk.rollout_clock.lead(self._lease.until)
        await self._let_time_pass()

    async def _let_time_pass(self) -> None:
        leads = self._lease.held
        seen = verdicts(self.known()) if leads else self._desk.guard.verdicts()
        event = Tick(
            verdicts={verdict.guardrail: verdict.verdict for verdict in seen}, flag_known=self._force.flag_known
        )
        transition = advance(self.state, event, self._desk.now())
        if any(isinstance(effect, Publish) and effect.rollback for effect in transition.effects):
            await self._rollbacks.order(Rollback(actor=EVIDENCE, reason=transition.state.reason), "evidence")
        elif not leads:
            return  # harm that was seen here is acted on here; everything else is the leader's
        elif transition.state.revision == self.state.revision:
            self._force.state = transition.state  # at most another reason to hold, which is no change of the rollout
            self._desk.tell(transition.effects)
        else:
            with contextlib.suppress(StoreUnavailable, Refused):
                async with self._desk.changing:
                    await self._change(event, "schedule")
