"""Takes over what another cell has saved: the record is put in force here as it stands in the store, with the pins.

It decides and saves nothing of its own; must not know commands, nor how it was heard that there is something new.
"""

from __future__ import annotations

import time

import structlog

from app.control.rollback import Rollbacks
from app.control.state import Desk
from app.fleet.bus import Changed
from app.store.port import StoredRecord
from rollout.names import CANARY
from rollout.state import Rollout

log = structlog.get_logger()


class Follower:
    """One cell behind the store. `changing` is held by whoever calls; every call raises StoreUnavailable."""

    def __init__(self, desk: Desk, rollbacks: Rollbacks) -> None:
        self._desk = desk
        self._rollbacks = rollbacks

    async def follow(self, news: Changed | None = None) -> None:
        """Take over what the store says, or (`news`) what another cell has put there."""
        keeper = self._desk.keeper
        stored = keeper.stored
        stale = news is not None and stored is not None and news.revision <= stored.revision
        told = news is not None and news.text != "" and keeper.learn(StoredRecord(news.revision, news.text))
        await self._rollbacks.settle()
        changed = self._desk.force.state != keeper.stored if told else not stale and await keeper.load()
        if changed and self._rollbacks.unsaved is None:
            await self._adopt(keeper.stored or Rollout())
        if news is None or news.pins:
            await self.follow_pins()

    async def follow_pins(self) -> None:
        """Take over who is pinned; their open sessions move, whatever the plan says of new connections."""
        force = self._desk.force
        pins = await self._desk.keeper.pins()
        if pins != force.pins:
            force.pins = pins
            force.publish(everyone=True)

    async def _adopt(self, state: Rollout) -> None:
        desk, force = self._desk, self._desk.force
        before, force.state = force.state, state
        if state.lock is not None:
            to_move, figures = desk.cell.path_state(CANARY).sessions, desk.figures()
            sweep = force.publish(rollback=True)
            if before.lock is None or before.last_rollback != state.last_rollback:
                self._rollbacks.observe(sweep, None, to_move, figures=figures)
            await force.settle_lock()
            await force.write_flag()
        elif before.lock is not None:
            await force.settle_lock()
            await self._rollbacks.lifted()
        else:
            await force.write_flag()
            if force.state is state:
                force.publish()
        lifted = before.lock is not None and state.lock is None
        if lifted or (before.id, before.percentage) != (state.id, state.percentage):
            desk.new_epoch(state.percentage)
        if not desk.fleet.alone:
            log.info("in force, as another cell has it", revision=state.revision, monotonic=time.monotonic())
        desk.changes.tell()
