"""What the paths of this host are served from: by its settings, or by what the record says was loaded."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from app.control.ports import Builds
from app.control.record import audit_in
from app.control.repository import Repository
from app.control.snapshots import Snapshots
from app.control.state import State
from app.errors import StoreUnavailable
from app.settings import Settings
from app.store.port import RevisionTaken
from rollout.builds import Served, Source, of_path, served_on
from rollout.events import SettingSeen
from rollout.machine import advance
from rollout.names import CANARY, PATHS, STABLE, PathName
from rollout.state import Rollout

log = structlog.get_logger()


class Sources:
    """The paths of one cell. `host` as the record names it; empty: the only one there is."""

    def __init__(
        self,
        *,
        builds: Builds,
        repository: Repository,
        state: State,
        snapshots: Snapshots,
        settings: Settings,
        host: str,
    ) -> None:
        self._builds = builds
        self._repository = repository
        self._state = state
        self._snapshots = snapshots
        self._host = host
        self._settings: Mapping[PathName, Source] = {
            STABLE: Source(settings.paths_v2, settings.paths_v2_python),
            CANARY: Source(settings.paths_v3, settings.paths_v3_python),
        }
        self._canary_started = False

    def setting_of(self, path: PathName) -> Source:
        """What this host's own setting says."""
        return self._settings[path]

    def served(self, path: PathName) -> Served:
        """What this host serves by the record as it is known."""
        record = self._repository.stored or Rollout()
        return served_on(of_path(record.builds, path), self._host, self._settings[path])

    async def start(self) -> None:
        """Start both paths; v3 only when the record says from what. Raises `FactoryError` when v2 does not start."""
        try:
            await self._see_settings()
        except StoreUnavailable:
            log.error("v3 is not started: the record, which says what was loaded, cannot be read yet")
            await self._builds.start({STABLE: Served(self._settings[STABLE])})
            return
        self._canary_started = True
        await self._builds.start({path: self.served(path) for path in PATHS})

    async def start_missing(self) -> None:
        """Start v3 as soon as the record can be read. Raises StoreUnavailable."""
        if not self._canary_started and self._repository.loaded:
            await self._see_settings()
            self._canary_started = True
            await self._builds.start({CANARY: self.served(CANARY)})

    async def _see_settings(self) -> None:
        """Write down what this host's settings say, where a build was loaded in their place."""
        async with self._repository.turn:
            await self._repository.load()
            for path in PATHS:
                while not await self._saw(path):
                    await self._repository.load()

    async def _saw(self, path: PathName) -> bool:
        """False: another cell has changed the record meanwhile."""
        stored = self._repository.stored or Rollout()
        event = SettingSeen(path=path, host=self._host, setting=self._settings[path])
        transition = advance(stored, event, self._state.now())
        if transition.state.revision == stored.revision:
            return True
        entry = self._snapshots.entry(audit_in(transition.effects), "settings", stored, transition.state)
        try:
            await self._repository.save(transition.state, entry)
        except RevisionTaken:
            return False
        log.warning(entry.what, because=entry.reason)
        return True
