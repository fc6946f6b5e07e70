"""The control plane of one cell, assembled, and what may be asked of it: commands, builds, notes, pins, receipts.

`rollout` decides; here decisions are checked, carried out and audited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec
import structlog

from app.control.change import Change, Changes
from app.control.clock import RolloutClock
from app.control.deploy import Deployments
from app.control.durability import DurabilityWatch
from app.control.enforcer import Enforcer
from app.control.flag_writer import FlagWriter
from app.control.follower import Follower
from app.control.give_up import GivingUp
from app.control.host_lock import HostLock
from app.control.loop import ControlLoop
from app.control.notifier import Notifier
from app.control.partition import Partition
from app.control.ports import Builds, CellPort, Guard, SessionGiver
from app.control.queries import FleetQueries
from app.control.receipt import Receipt
from app.control.register import Register
from app.control.repository import Repository
from app.control.rollback import Rollbacks
from app.control.snapshots import Snapshots
from app.control.sources import Sources
from app.control.state import State
from app.control.sync import Sync
from app.control.verification import Verification
from app.control.views import Snapshot, users_on
from app.data_folder import FolderWatch
from app.flags import Flags
from app.fleet.bus import Bus, Changed
from app.fleet.lease import Lease, OnlyCell
from app.fleet.members import Fleet
from app.fleet.rpc import HostRpc
from app.metrics.counters import Counters
from app.settings import Settings
from app.store.port import Store, StoredRecord
from rollout.builds import BuildSource, LoadedBuild
from rollout.errors import TooManyPins
from rollout.events import Actor, Audit, Load, Notify, Rollback, Unlock
from rollout.names import CANARY, STABLE, PathName
from rollout.permissions import check_load, require
from rollout.state import UNDO_S, Rollout
from rollout.views import Loaded

TIMELINE = 200
TIMELINE_S = 24 * 3600
"""A receipt shows the audit from a day before a rollback until the end of its undo, at most `TIMELINE` entries."""
PINS = 10_000
"""Users that can be pinned: every cell has all pins in its memory."""
log = structlog.get_logger()


def log_notice(notice: Notify) -> None:
    """Where notices go when no receiver is given."""
    log.warning("notice", about=notice.about, text=notice.text)


class Controller:
    """The control plane of one cell. Make it in the running event loop; `loop` starts, runs and ends it."""

    def __init__(
        self,
        *,
        cell: CellPort,
        store: Store,
        flags: Flags,
        host_lock: HostLock,
        folder: FolderWatch,
        counters: Counters,
        settings: Settings,
        builds: Builds,
        guard: Guard,
        bus: Bus,
        sessions: SessionGiver,
        notify: Callable[[Notify], None] = log_notice,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        lease: Lease | None = None,
        host: str = "",
        wakeup: asyncio.Event | None = None,
    ) -> None:
        """Without a `lease` this is the only cell; `host` is given when cells of other hosts may share the store.

        `clock` gives Unix seconds. `wakeup` is set when there is something new for a guardrail to judge.
        """
        fleet, notifier = Fleet(cell.name, bus), Notifier()
        rollout_clock = RolloutClock(monotonic)
        observed, wakeup = asyncio.Event(), wakeup or asyncio.Event()

        def announce(record: StoredRecord) -> None:
            bus.tell(Changed(record.revision, record.text))

        state = State(cell, flags, settings, clock, rollout_clock)
        repository = Repository(store, rollout_clock, announce)
        flag = FlagWriter(flags, state, settings, clock)
        snapshots = Snapshots(
            cell=cell, fleet=fleet, state=state, flag=flag, repository=repository, counters=counters, guard=guard,
            settings=settings, clock=clock,
        )  # fmt: skip
        durability = DurabilityWatch(
            state=state, host_lock=host_lock, repository=repository, notifier=notifier,
            store_here=settings.store == "sqlite", lost=lambda: folder.lost,
        )  # fmt: skip
        verification = Verification(
            cell=cell, fleet=fleet, state=state, counters=counters, repository=repository, notifier=notifier,
            observed=observed, clock=clock,
        )  # fmt: skip
        enforcer = Enforcer(
            cell=cell, state=state, host_lock=host_lock, durability=durability, flag=flag, verification=verification,
            snapshots=snapshots, notifier=notifier,
        )  # fmt: skip
        rollbacks = Rollbacks(
            cell=cell, fleet=fleet, state=state, host_lock=host_lock, durability=durability, flag=flag,
            repository=repository, verification=verification, snapshots=snapshots, notifier=notifier, notify=notify,
        )  # fmt: skip
        follower = Follower(state, repository, rollbacks, enforcer)
        changes = Changes(
            state=state, builds=builds, repository=repository, rollbacks=rollbacks, follower=follower,
            enforcer=enforcer, snapshots=snapshots, notify=notify,
        )  # fmt: skip
        rpc = HostRpc(fleet)
        deployments = Deployments(fleet, rpc, builds, settings.start_s)
        sources = Sources(
            cell=cell, fleet=fleet, builds=builds, deployments=deployments, repository=repository, state=state,
            snapshots=snapshots, settings=settings, host=host,
        )  # fmt: skip
        self.queries = FleetQueries(fleet, rpc, snapshots.take)
        self.sync = Sync(
            cell=cell, fleet=fleet, rpc=rpc, queries=self.queries, deployments=deployments, rollbacks=rollbacks,
            verification=verification, follower=follower, repository=repository,
            partition=Partition(fleet, state, repository, settings, notifier), snapshots=snapshots, notifier=notifier,
            wakeup=wakeup, sessions=sessions,
        )  # fmt: skip
        self.register = Register(
            store=store, host=host, fleet=fleet, repository=repository, verification=verification,
            snapshots=snapshots, notifier=notifier, settings=settings, observed=observed,
        ) if host else None  # fmt: skip
        self.loop = ControlLoop(
            cell=cell, bus=bus, state=state, host_lock=host_lock, folder=folder, flag=flag, repository=repository,
            rollbacks=rollbacks, verification=verification, enforcer=enforcer, follower=follower, changes=changes,
            sync=self.sync, sources=sources, register=self.register, lease=lease or OnlyCell(monotonic),
            clock=rollout_clock, counters=counters, guard=guard,
            snapshots=snapshots, notifier=notifier, wakeup=wakeup,
        )  # fmt: skip
        self.cell = cell
        self.fleet = fleet
        self.repository = repository
        self.notifier = notifier
        self.verification = verification
        self._state = state
        self._folder = folder
        self._host_lock = host_lock
        self._durability = durability
        self._flag = flag
        self._rollbacks = rollbacks
        self._follower = follower
        self._changes = changes
        self._deployments = deployments
        self._sources = sources
        self._snapshots = snapshots
        self._giving_up = GivingUp(
            store=store, fleet=fleet, state=state, repository=repository, snapshots=snapshots, register=self.register
        )

    @property
    def record(self) -> Rollout:
        """The record in force."""
        return self._state.record

    @property
    def not_ready(self) -> str:
        """Why this cell should get no clients, in words; empty: the record is known, kept, and v2 serves."""
        if self._folder.lost:
            return self._folder.lost
        if not self.repository.loaded:
            return "the record could not be read yet"
        stable = self.cell.path_state(STABLE)
        return "" if stable.available else f"v2 is unavailable: {stable.reason or 'no reason is known'}"

    @property
    def ready(self) -> bool:
        """Whether this cell should get clients."""
        return not self.not_ready

    def folder_trouble(self) -> str:
        """Why the data folder keeps nothing, or has no place for the lock of a rollback; empty: it has."""
        lock = self.record.lock
        if self._folder.lost:
            return self._folder.lost
        if lock is None and self._host_lock.unreserved:
            return f"no place is kept for the lock of a rollback: {self._host_lock.unreserved}"
        return f"the lock in force is not there: {self._host_lock.trouble}" if self._host_lock.trouble else ""

    def snapshot(self) -> Snapshot:
        """Everything that a view is made of, now."""
        rollback = self._durability.shown(self.verification.rollback())
        return self._snapshots.take(rollback, self._durability.now())

    async def execute(self, command: Change | Rollback, source: str) -> None:
        """Carry out a command; `source` says where it came from, for the audit.

        Raises Refused (nothing changed, or a rollback won meanwhile), and StoreUnavailable, but not for a rollback.
        """
        if isinstance(command, Rollback):
            await self._rollbacks.order(command, source)
            return
        if isinstance(command, Unlock):
            command = replace(command, flag_percentage=self._flag.percentage)
        await self._changes.execute(command, source)
        self.sync.say()

    async def load(
        self, actor: Actor, *, factory: str, python: str, build: str, live: bool, reason: str, source: str
    ) -> Loaded:
        """Load a new build of v3, for open sessions and for new ones.

        In all cells of this host or in none; what is not given stays as it is. Raises Refused, FactoryError,
        StateIncompatible and StoreUnavailable; nothing changed then, unless the error says so.
        """
        require(actor, "load")
        check_load(self.record, users_on_v3=users_on(self._snapshots.take(), CANARY), live=live)
        current, previous = self._sources.served(CANARY).source, self.cell.path_state(CANARY).build
        wanted = BuildSource(factory or current.factory, python or current.python)

        async def record(id: str) -> None:
            new, settings = LoadedBuild(CANARY, wanted, id, named=build != ""), self._sources.settings(CANARY)
            event = Load(actor=actor, reason=reason, loaded=new, previous_build=previous, settings=settings)
            await self._changes.load(event, source)

        loaded = await self._deployments.load(wanted, build, record)
        self.notifier.tell()
        self.sync.say()
        return loaded

    async def note(self, actor: Actor, text: str, source: str) -> None:
        """Add a remark to the audit and the charts. Raises NotAllowed and StoreUnavailable."""
        require(actor, "note")
        await self.repository.append(self._snapshots.entry(Audit(actor, "note", text), source, self.record))

    async def pin(self, actor: Actor, user_id: str, path: PathName | None, reason: str, *, source: str) -> None:
        """Pin a user to a path, or unpin them with None. Raises NotAllowed, TooManyPins and StoreUnavailable."""
        require(actor, "pin")
        what = f"unpin {user_id}" if path is None else f"pin {user_id} to {path}"
        async with self.repository.turn:
            pins = await self.repository.pins()
            if path is not None and len(pins) >= PINS and user_id not in pins:
                raise TooManyPins(PINS)
            entry = self._snapshots.entry(Audit(actor, what, reason), source, self.record)
            await self.repository.save_pin(user_id, path, entry)
            await self._follower.follow_pins()
        self.sync.pins_changed(self.record.revision)

    async def give_up(self, actor: Actor, cell: str, reason: str, source: str) -> None:
        """Stop waiting for a cell of another host; see `GivingUp.forget`."""
        await self._giving_up.forget(actor, cell, reason, source)

    async def receipt(self, id: str) -> Receipt | None:
        """What a rollback did, with the audit around it; None: there is none of this id. Raises StoreUnavailable."""
        seen = self.verification.receipt
        found = seen if seen is not None and seen.rollback.id == id else await self.repository.receipt(id)
        if found is None:
            return None
        entries = (await self.repository.events(None, TIMELINE)).items
        end = found.rollback.at + UNDO_S
        timeline = [entry for entry in reversed(entries) if found.rollback.at - TIMELINE_S <= entry.at <= end]
        given_up = await self._giving_up.during(found.rollback)
        rollback = self._durability.shown(found.rollback)
        return msgspec.structs.replace(found, rollback=rollback, timeline=timeline, given_up=given_up)
