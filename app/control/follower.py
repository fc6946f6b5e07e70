"""Takes over what the store has, whoever saved it: the record and the pins."""

from __future__ import annotations

from time import monotonic

import structlog

from app.control.enforcer import Enforcer
from app.control.repository import Repository
from app.control.rollback import Rollbacks
from app.control.state import State
from app.fleet.bus import Changed
from app.store.port import StoredRecord
from rollout.state import Rollout

log = structlog.get_logger()


class Follower:
    """Follows the store for one cell. The caller holds the repository's `turn`; every call raises StoreUnavailable."""

    def __init__(self, state: State, repository: Repository, rollbacks: Rollbacks, enforcer: Enforcer) -> None:
        self._state = state
        self._repository = repository
        self._rollbacks = rollbacks
        self._enforcer = enforcer

    async def follow(self, news: Changed | None = None) -> None:
        """Take over what the store has; with `news`, what another cell says that it has saved."""
        if await self._is_new(news) and self._state.pending is None:
            record = self._repository.stored or Rollout()
            await self._enforcer.adopt(record)
            log.debug("in force, as the store has it", revision=record.revision, monotonic=monotonic())
        if news is None or news.pins:
            await self.follow_pins()

    async def take_up(self) -> None:
        """Put in force what the store has, at the start."""
        await self._repository.load()
        await self._rollbacks.settle()
        if self._state.pending is None:
            await self._enforcer.adopt(self._repository.stored or Rollout())
        await self.follow_pins()

    async def follow_pins(self) -> None:
        """Take over the pins; open sessions move too, whatever the plan says of new connections."""
        self._state.pin(await self._repository.pins())

    async def _is_new(self, news: Changed | None) -> bool:
        stored = self._repository.stored
        stale = news is not None and stored is not None and news.revision <= stored.revision
        learned = (
            news is not None and news.text != "" and self._repository.learn(StoredRecord(news.revision, news.text))
        )
        await self._rollbacks.settle()
        if learned:
            return self._state.record != self._repository.stored
        return not stale and await self._repository.load()
