"""The control loop of one cell: owns the rollout record, carries out commands, and lets time do its part.

Decisions are `rollout`'s, keeping is the keeper's, sessions are the cell's; it must not know of HTTP or of SQL.

A rollback waits for nothing but the disk: lock file, cell, and only then store, audit and flag. Every other command
goes alone: decide, save, flag, cell; one that was still being saved when a rollback came has lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import structlog

from app.control.changes import Changes
from app.control.enforcement import Enforcer
from app.control.flags import Flags
from app.control.keeper import Keeper
from app.control.ledger import Ledger
from app.control.lockfile import UNKNOWN, LockFile
from app.control.overview import Known, path_figures
from app.control.ports import Builds, Cell, Guard, Loaded, NoGuard, Sweep
from app.control.receipt import Receipt
from app.control.record import audit_in, entry_of
from app.control.store.port import RevisionTaken, Store
from app.control.watch import RollbackWatch
from app.errors import FactoryError, StoreUnavailable
from app.settings import Settings
from dashboards.views import AuditEntry
from rollout.errors import NoWayBack, Refused, StaleRevision
from rollout.events import (
    EVIDENCE,
    Actor,
    ApplyPlan,
    Audit,
    LockFound,
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
from rollout.names import CANARY, STABLE, Path
from rollout.permissions import check_load, require_role
from rollout.state import UNDO_S, Lock, Rollout

Change = Start | SetPercentage | Promote | Pause | Resume | Undo | Unlock | ApplyPlan
"""Every command but a rollback."""

ANSWER_S = 1.0
"""A rollback's answer waits for the store at most so long."""
TICK_S = 1.0
TIMELINE = 200
TIMELINE_S = 24 * 3600
"""A receipt shows the audit of the day before a rollback, at most so many entries of it, and until it can be undone."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A rollback that is in force here and not in the store yet."""

    base_revision: int
    transition: Transition
    command: Rollback
    lock: Lock
    now: float
    entry: AuditEntry | None
    """None for a lock found at start: whoever made it has audited it."""


def log_notice(notice: Notify) -> None:
    """Where notices go when nobody is named."""
    log.warning("notice", about=notice.about, text=notice.text)


class Controller:
    """The record of this cell and what may be done with it: `open` first, `run` meanwhile, `close` at the end."""

    def __init__(
        self,
        *,
        cell: Cell,
        store: Store,
        flags: Flags,
        lock_file: LockFile,
        ledger: Ledger,
        settings: Settings,
        guard: Guard | None = None,
        notify: Callable[[Notify], None] = log_notice,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cell = cell
        self.keeper = Keeper(store)
        self.settings = settings
        self.ledger = ledger
        self.changes = Changes()
        self.builds: Builds | None = None
        """Set when the workers are there."""
        self._force = Enforcer(cell, flags, lock_file, settings, clock)
        self._guard = guard or NoGuard()
        self._notify = notify
        self._clock = clock
        self._watch = RollbackWatch(cell, lambda: self._force.publish(rollback=True), self._keep, clock)
        self._mark = ledger.mark(time.monotonic())
        self._changing = asyncio.Lock()
        self._unsaved: Unsaved | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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
        force = self._force
        return Known(
            now=self._clock(),
            ticks=time.monotonic(),
            state=force.state,
            settings=self.settings,
            cell=self.cell,
            ledger=self.ledger,
            mark=self._mark,
            view=force.view(),
            flag_age_s=force.flags.age_s(self._clock()),
            flag_status=force.flag_status,
            store_down=self.keeper.down or not self.keeper.loaded,
            verdicts=self._guard.verdicts(),
            rollback=self._watch.receipt.rollback if self._watch.receipt else None,
        )

    # -- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read lock and record, and put in force what they say. A lock means v2, and so does a store that is down."""
        lock = await self._force.find_lock()
        if lock is not None:
            command = Rollback(actor=Actor(lock.by, "oncall" if lock.by_person else "system"), reason=lock.reason)
            transition = advance(Rollout(), command, lock.since)
            self._force.state = transition.state
            self._unsaved = Unsaved(-1, transition, command, lock, lock.since, None)
        sweep = self._force.publish(rollback=lock is not None)
        with contextlib.suppress(StoreUnavailable):
            async with self._changing:
                await self._follow()
            if (receipt := await self.keeper.receipt()) is not None:
                self._watch.restore(receipt)
        if self.state.lock is not None:
            self._observe(sweep, None, self.cell.path_state(CANARY).sessions)

    async def run(self) -> None:
        """Tick once a second until cancelled; an error in one tick is logged, and the next one comes."""
        while True:
            try:
                await self.tick()
            except Exception:
                log.exception("a tick of the control loop failed")
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:
        """Watch no longer, and write what still waits; every change was saved when it was made."""
        self.changes.close()
        await self._watch.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.keeper.flush()

    # -- commands -------------------------------------------------------------------------------------------------

    async def execute(self, command: Change | Rollback, source: str) -> None:
        """Do what somebody asks for; `source` says from where, for the audit.

        Raises Refused (nothing changed, or a rollback won meanwhile), and StoreUnavailable, but not for a rollback.
        """
        if isinstance(command, Rollback):
            await self._roll_back(command, source)
            return
        if isinstance(command, Unlock):
            command = replace(command, flag_percentage=self._force.flags.percentage())
        async with self._changing:
            await self._change(command, source)

    async def load(
        self, actor: Actor, *, factory: str, python: str, build: str, live: bool, reason: str, source: str
    ) -> Loaded:
        """A new build of v3 for the sessions that are there and for those that come.

        Raises Refused, FactoryError, StateIncompatible (nothing changed) and StoreUnavailable (it is loaded).
        """
        require_role(actor, "manager", "load a build")
        check_load(self.state, users_on_v3=self.cell.path_state(CANARY).users, live=live)
        if self.builds is None:
            raise FactoryError("the workers are not there yet")
        loaded = await self.builds.load(factory, python, build or None)
        self.changes.tell()
        what = f"load v3 build {loaded.build} in place of {loaded.previous_build or 'none'}"
        await self.keeper.append(self._entry(Audit(actor, what, reason), source, self.state, self.state))
        return loaded

    async def note(self, actor: Actor, text: str, source: str) -> None:
        """A remark for the audit and the charts. Raises NotAllowed and StoreUnavailable."""
        require_role(actor, "oncall", "leave a note")
        await self.keeper.append(self._entry(Audit(actor, "note", text), source, self.state, self.state))

    async def pin(self, actor: Actor, user_id: str, path: Path | None, reason: str, *, source: str) -> None:
        """Pin a user to a path, or with None unpin. Raises NotAllowed and StoreUnavailable."""
        require_role(actor, "manager", "pin users")
        what = f"unpin {user_id}" if path is None else f"pin {user_id} to {path}"
        async with self._changing:
            entry = self._entry(Audit(actor, what, reason), source, self.state, self.state)
            await self.keeper.save_pin(user_id, path, entry)
            await self._follow_pins()

    async def receipt(self, id: str) -> Receipt | None:
        """What a rollback did, with the audit around it; None: there was none of this id. Raises StoreUnavailable."""
        watched = self._watch.receipt
        found = watched if watched is not None and watched.rollback.id == id else await self.keeper.receipt(id)
        if found is None:
            return None
        entries = (await self.keeper.events(None, TIMELINE)).items
        end = found.rollback.at + UNDO_S
        timeline = [entry for entry in reversed(entries) if found.rollback.at - TIMELINE_S <= entry.at <= end]
        return msgspec.structs.replace(found, timeline=timeline)

    async def _change(self, event: Change | Tick, source: str) -> None:
        """Decide, save, flag, cell; `_changing` is held. Raises Refused and StoreUnavailable."""
        self._require_record()
        base = self.state
        transition = advance(base, event, self._clock())
        if transition.state.revision == base.revision:
            return  # somebody else was faster, and there is nothing left to do
        if transition.state.percentage > base.percentage and self.builds is not None:
            why_not = await self.builds.check_way_back()
            if why_not is not None:
                raise NoWayBack(why_not)
        entry = self._entry(audit_in(transition.effects), source, base, transition.state)
        try:
            await self.keeper.save(transition.state, entry)
        except RevisionTaken:
            await self._follow()
            raise self._stale(base) from None
        if self._unsaved is not None or self.state is not base:
            raise self._stale(base)
        self._force.state = transition.state
        await self._carry_out(base, transition)
        self.changes.tell()

    async def _carry_out(self, base: Rollout, transition: Transition) -> None:
        """After the save. The flag comes before the sessions, because their view is made of what it reads."""
        state = transition.state
        if base.lock is not None and state.lock is None:
            await self._watch.stop()
            await self._force.settle_lock()
        if any(isinstance(effect, WriteFlag) for effect in transition.effects):
            await self._force.write_flag()
        if self.state is not state:
            return  # a rollback came in between and has swept already
        for effect in transition.effects:
            if isinstance(effect, Publish):
                self._force.publish()
            elif isinstance(effect, NewEpoch):
                self._guard.new_epoch(state.percentage)
                self._mark = self.ledger.mark(time.monotonic())
            elif isinstance(effect, Notify):
                self._notify(effect)

    def _require_record(self) -> None:
        if not self.keeper.loaded:
            raise StoreUnavailable("the record could not be read yet; only a rollback works without the store")
        if self._unsaved is not None:
            raise StoreUnavailable("a rollback is in force and not in the store yet; nothing else is taken before it")

    def _stale(self, base: Rollout) -> StaleRevision:
        now = self.state
        return StaleRevision(base.revision, now.revision, now.changed_by, now.changed_what)

    # -- rollback -------------------------------------------------------------------------------------------------

    async def _roll_back(self, command: Rollback, source: str) -> None:
        """Disk, cell; then store, audit and flag, which hold up the answer for a second at most. Raises NotAllowed."""
        commanded_at, now, force = time.monotonic(), self._clock(), self._force
        async with force.disk:
            transition = advance(self.state, command, now)
            while True:
                lock = self._durable(transition)
                await force.write_lock(lock)
                transition = advance(self.state, command, now)
                if self._durable(transition) == lock:
                    break  # else another command came through while the disk worked
            # From here to the sweep nothing is awaited, so no admission slips in between.
            base, force.state = self.state, transition.state
            to_move = self.cell.path_state(CANARY).sessions
            sweep = force.publish(rollback=True)
        entry = self._entry(audit_in(transition.effects), source, base, transition.state)
        if self._unsaved is None:
            self._unsaved = Unsaved(base.revision, transition, command, lock, now, entry)
        else:
            self.keeper.wait(entry)
        self._observe(sweep, commanded_at, to_move)
        self.changes.tell()
        for effect in transition.effects:
            if isinstance(effect, Notify):
                self._notify(effect)
        task = asyncio.create_task(self._save_rollback())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=ANSWER_S)

    def _durable(self, transition: Transition) -> Lock:
        """The lock for the disk. Which generation it belongs to is open while the record is unread or being changed."""
        lock = transition.state.lock
        assert lock is not None  # a rollback always locks
        sure = self.keeper.loaded and not self._changing.locked()
        return lock if sure else replace(lock, generation=UNKNOWN)

    def _observe(self, sweep: Sweep, commanded_at: float | None, to_move: int) -> None:
        last = self.state.last_rollback
        assert last is not None  # a rollback was just made, or found
        self._watch.begin(
            last,
            sweep,
            commanded_at,
            to_move=to_move,
            figures=path_figures(self.known()),
            errors=[group for group in self.ledger.errors.view() if group.only_on_v3],
            users_harmed=self.ledger.errors.users_on(CANARY),
        )

    async def _save_rollback(self) -> None:
        try:
            async with self._changing:
                await self._settle(late=False)
        except StoreUnavailable:
            log.warning("the rollback is in force here and not in the store yet")
        except Exception:
            log.exception("saving the rollback failed; it is in force here")
        await self._force.write_flag()

    async def _settle(self, *, late: bool) -> None:
        """Bring the rollback that is in force here into the store; `_changing` is held.

        Whatever was saved since it was decided lies under it. `late`: the store was away meanwhile, so a lock that was
        lifted there in the meantime is superseded. Raises StoreUnavailable.
        """
        job = self._unsaved
        if job is None:
            return
        if not self.keeper.loaded:
            await self.keeper.load()
        while True:
            stored = self.keeper.stored or Rollout()
            transition, entry = self._rebased(job, stored, late=late)
            try:
                if transition.state.revision != stored.revision:
                    await self.keeper.save(transition.state, entry or self._found(job, transition, stored))
                elif entry is not None:
                    self.keeper.wait(entry)
                break
            except RevisionTaken:
                await self.keeper.load()
        self._unsaved = None
        self._force.state = transition.state
        self._watch.rename(transition.state.last_rollback)
        await self._force.settle_lock()
        if transition.state.lock is None:
            await self._lifted()
        elif self._watch.receipt is not None:
            await self.keeper.keep(self._watch.receipt)

    def _rebased(self, job: Unsaved, stored: Rollout, *, late: bool) -> tuple[Transition, AuditEntry | None]:
        if stored.revision == job.base_revision:
            return job.transition, job.entry
        if late:
            generation = stored.generation if job.lock.generation == UNKNOWN else job.lock.generation
            transition = advance(stored, LockFound(lock=replace(job.lock, generation=generation)), job.now)
        else:
            transition = advance(stored, job.command, job.now)
        superseded = next((effect for effect in transition.effects if isinstance(effect, Audit)), None)
        if job.entry is not None:
            changes = {"what": superseded.what} if superseded else {}
            return transition, msgspec.structs.replace(job.entry, revision=transition.state.revision, **changes)
        if superseded and transition.state.revision == stored.revision:
            return transition, self._entry(superseded, "lock file", stored, stored)
        return transition, None

    def _found(self, job: Unsaved, transition: Transition, stored: Rollout) -> AuditEntry:
        """For a lock found at start that the store knows nothing of."""
        return self._entry(audit_in(transition.effects), "lock file", stored, transition.state)

    async def _lifted(self) -> None:
        """The record says that there is no lock (any more)."""
        await self._watch.stop()
        await self._force.write_flag()
        self._force.publish()

    async def _keep(self, receipt: Receipt) -> None:
        self.changes.tell()
        if self._unsaved is None:  # else it is kept, under its final id, when the rollback is saved
            await self.keeper.keep(receipt)

    # -- time -----------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """One second passed: follow the store, try again what did not hold, let time and evidence decide."""
        self.ledger.tick(time.monotonic())
        with contextlib.suppress(StoreUnavailable):
            async with self._changing:
                await self._follow()
            await self.keeper.flush()
        await self._force.retry()
        await self._let_time_pass()

    async def _follow(self) -> None:
        """Take over what the store says; `_changing` is held. Raises StoreUnavailable."""
        await self._settle(late=True)
        changed = await self.keeper.load()
        if changed and self._unsaved is None:
            await self._adopt(self.keeper.stored or Rollout())
        await self._follow_pins()

    async def _adopt(self, state: Rollout) -> None:
        before, self._force.state = self.state, state
        if state.lock is not None:
            sweep = self._force.publish(rollback=True)
            await self._force.settle_lock()
            if before.lock is None:
                self._observe(sweep, None, sweep.to_move)
            await self._force.write_flag()
        elif before.lock is not None:
            await self._force.settle_lock()
            await self._lifted()
        else:
            await self._force.write_flag()
            if self.state is state:
                self._force.publish()
        self._mark = self.ledger.mark(time.monotonic())

    async def _follow_pins(self) -> None:
        pins = await self.keeper.pins()
        if pins != self._force.pins:
            self._force.pins = pins
            self._force.publish(everyone=True)

    async def _let_time_pass(self) -> None:
        verdicts = {verdict.guardrail: verdict.verdict for verdict in self._guard.verdicts()}
        event = Tick(verdicts=verdicts, flag_known=self._force.flag_known)
        transition = advance(self.state, event, self._clock())
        if any(isinstance(effect, Publish) and effect.rollback for effect in transition.effects):
            await self._roll_back(Rollback(actor=EVIDENCE, reason=transition.state.reason), "evidence")
        elif transition.state.revision == self.state.revision:
            self._force.state = transition.state  # at most another reason to hold, which is no change of the rollout
            for effect in transition.effects:
                if isinstance(effect, Notify):
                    self._notify(effect)
        else:
            with contextlib.suppress(StoreUnavailable, Refused):
                async with self._changing:
                    await self._change(event, "schedule")

    def _entry(self, audit: Audit, source: str, before: Rollout, after: Rollout) -> AuditEntry:
        figures = path_figures(self.known())
        return entry_of(audit, source, before, after, figures=figures, now=self._clock())
