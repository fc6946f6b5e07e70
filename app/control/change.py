"""Changes of the record, one at a time: decided, saved, put in force. A rollback that comes meanwhile wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from time import monotonic

from app.control.enforcer import Enforcer
from app.control.follower import Follower
from app.control.ports import Builds
from app.control.record import audit_in
from app.control.repository import Repository
from app.control.rollback import ANSWER_S, Rollbacks
from app.control.snapshots import Snapshots
from app.control.state import State
from app.control.views import builds_differ
from app.errors import StoreUnavailable
from app.fleet.members import REGISTER_EVERY_S
from app.store.port import RevisionTaken
from rollout.errors import BuildsDiffer, NoWayBack, Refused, StaleRevision
from rollout.events import (
    ApplyPlan,
    Effect,
    Load,
    Notify,
    Pause,
    Promote,
    Resume,
    SetPercentage,
    Start,
    Tick,
    Undo,
    Unlock,
)
from rollout.machine import advance
from rollout.state import Rollout

LOAD_TRIES = 5
HEARD_S = 2 * REGISTER_EVERY_S
"""What cells of other hosts say of themselves is written and read so often each."""
LOOK_S = 0.05
Change = Start | SetPercentage | Promote | Pause | Resume | Undo | Unlock | ApplyPlan
"""Every command but a rollback."""


class Changes:
    """The changes made by one cell. `execute` and `step` may be called at any time; they wait for each other."""

    def __init__(
        self,
        *,
        state: State,
        builds: Builds,
        repository: Repository,
        rollbacks: Rollbacks,
        follower: Follower,
        enforcer: Enforcer,
        snapshots: Snapshots,
        notify: Callable[[Notify], None],
    ) -> None:
        self._state = state
        self._builds = builds
        self._repository = repository
        self._rollbacks = rollbacks
        self._follower = follower
        self._enforcer = enforcer
        self._snapshots = snapshots
        self._notify = notify

    async def execute(self, command: Change, source: str) -> None:
        """Carry out a command; `source` says where it came from, for the audit.

        Raises Refused (nothing changed, or a rollback won meanwhile) and StoreUnavailable.
        """
        async with self._turn():
            if command.revision is not None and command.revision > self._state.record.revision:
                await self._follower.follow()  # somebody has seen more than this cell has
        way_back = await self._way_back(command)
        async with self._turn():
            await self._change(command, source, way_back)

    async def step(self, event: Tick) -> None:
        """Take the step that is due, if there is one; what the store or a rollback prevents is tried at the next tick.

        A new reason to hold does not change the rollout, so it gets no revision. Harm is not acted on here: whoever
        judges it orders a rollback.
        """
        record = self._state.record
        transition = advance(record, event, self._state.now())
        if transition.state.lock != record.lock:
            return
        if transition.state.revision == record.revision:
            if transition.state != record and self._state.pending is None:
                self._state.adopt(transition.state)
            self._tell(transition.effects)
            return
        with suppress(StoreUnavailable, Refused):
            way_back = await self._way_back(event)
            async with self._repository.turn:
                await self._change(event, "schedule", way_back)

    async def load(self, event: Load, source: str) -> None:
        """Save what was loaded, on top of whatever the record says by then. Raises Refused and StoreUnavailable."""
        for _ in range(LOAD_TRIES):
            try:
                async with self._turn():
                    return await self._change(event, source, None)
            except StaleRevision:
                continue
        raise StoreUnavailable("the record is being changed all the time; load again")

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold the repository's turn, after waiting up to a second for a rollback that is being saved."""
        end = monotonic() + ANSWER_S
        while True:
            if not self._repository.down:
                await self._state.saved(ANSWER_S)
            async with self._repository.turn:
                await self._rollbacks.settle()
                if self._state.pending is None or self._repository.down or monotonic() >= end:
                    yield
                    return

    async def _way_back(self, event: Change | Tick) -> str | None:
        """Why v2 could not take back those whom this event moves to v3, empty if it can; None: it moves nobody there.

        Asked before the turn is taken, because a worker may take seconds to answer and rollbacks are saved meanwhile.
        Raises Refused and StoreUnavailable.
        """
        self._require_record()
        record = self._state.record
        rises = advance(record, event, self._state.now()).state.percentage > record.percentage
        if not rises:
            return None
        await self._same_build()
        return await self._builds.check_way_back() or ""

    async def _same_build(self) -> None:
        """Raises BuildsDiffer. What other cells say of themselves may be a moment old, after a load that is over."""
        end = monotonic() + HEARD_S
        while differ := builds_differ(self._snapshots.take()):
            if monotonic() >= end:
                raise BuildsDiffer(f"nobody is moved to v3: {differ}; load one of them on every host")
            await asyncio.sleep(LOOK_S)

    async def _change(self, event: Change | Tick | Load, source: str, way_back: str | None) -> None:
        """Decide, save, put in force; the caller holds the turn. Raises Refused and StoreUnavailable."""
        self._require_record()
        base = self._state.record
        transition = advance(base, event, self._state.now())
        if transition.state.revision == base.revision:
            return  # somebody else was faster, and there is nothing left to do
        if transition.state.percentage > base.percentage:
            if way_back is None:
                raise self._stale(base)  # the record changed after the way back was checked
            if way_back:
                raise NoWayBack(way_back)
        entry = self._snapshots.entry(audit_in(transition.effects), source, base, transition.state)
        try:
            await self._repository.save(transition.state, entry)
        except RevisionTaken:
            await self._follower.follow()
            raise self._stale(base) from None
        if self._state.pending is not None or self._state.record.revision != base.revision:
            # It is saved and audited with the rollback on top of it; it was never in force.
            with suppress(StoreUnavailable):
                await self._follower.follow()
            return
        await self._enforcer.adopt(transition.state)
        self._tell(transition.effects)

    def _require_record(self) -> None:
        if not self._state.known:
            raise StoreUnavailable("the record could not be read yet; only a rollback works without the store")
        if self._state.pending is not None:
            raise StoreUnavailable("a rollback is in force and not in the store yet; nothing else is taken before it")

    def _stale(self, base: Rollout) -> StaleRevision:
        """The refusal that names who was faster: as the store says, or a rollback that it does not have yet."""
        stored = self._repository.stored
        now = stored if stored is not None and stored.revision > base.revision else self._state.record
        return StaleRevision(base.revision, now.revision, now.changed_by, now.changed_what, now.changed_at)

    def _tell(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Notify):
                self._notify(effect)
