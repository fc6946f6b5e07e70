"""What the paths of this host are served from: by its settings, or by what the record says was loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from app.control.deploy import Deployments
from app.control.ports import Builds, CellPort
from app.control.record import audit_in
from app.control.repository import Repository
from app.control.snapshots import Snapshots
from app.control.state import State
from app.errors import CrossfadeError, StoreUnavailable
from app.fleet.members import Fleet, host_of
from app.fleet.questions import Adopt, Prepare
from app.pool.source import source_of
from app.settings import Settings
from app.store.port import RevisionTaken
from rollout.builds import BuildSource, Served, of_path, served_on
from rollout.events import SettingSeen
from rollout.machine import advance
from rollout.names import CANARY, PATHS, STABLE, PathName
from rollout.state import Rollout

CHECKS = 10
"""Seconds after the start by which the other cells see this one, and ask it too when they load a build."""
log = structlog.get_logger()


class Sources:
    """The paths of one cell. `host` as the record names it; empty: the only one there is."""

    def __init__(
        self,
        *,
        cell: CellPort,
        fleet: Fleet,
        builds: Builds,
        deployments: Deployments,
        repository: Repository,
        state: State,
        snapshots: Snapshots,
        settings: Settings,
        host: str,
    ) -> None:
        self._cell = cell
        self._fleet = fleet
        self._builds = builds
        self._deployments = deployments
        self._repository = repository
        self._state = state
        self._snapshots = snapshots
        self._host = host
        self._settings: Mapping[PathName, BuildSource] = {path: source_of(settings, path) for path in PATHS}
        self._started: Served | None = None
        """What v3 was started from; None: it was not, because the record could not be read yet."""
        self._checks_left = CHECKS
        self._task: asyncio.Task[None] | None = None

    def settings(self, path: PathName) -> Mapping[str, BuildSource]:
        """What each host's own setting says, as far as its cells are heard; by host."""
        others = self._fleet.others().items()
        heard = {host_of(cell): figures.settings[path] for cell, figures in others if path in figures.settings}
        return {**heard, self._host: self._settings[path]}

    def served(self, path: PathName) -> Served:
        """What this host serves by the record as it is known."""
        return served_on(of_path(self._record.builds, path), self._host, self._settings[path])

    async def start(self) -> None:
        """Start both paths; v3 only when the record says from what. Raises `FactoryError` when v2 does not start."""
        try:
            await self._see_settings()
        except StoreUnavailable:
            log.error("v3 is not started: the record, which says what was loaded, cannot be read yet")
            await self._builds.start({STABLE: Served(self._settings[STABLE])})
            return
        self._started = self.served(CANARY)
        await self._builds.start({path: self.served(path) for path in PATHS})

    def check(self) -> None:
        """See to it that v3 is served from what the record says; called once a second. Raises nothing.

        It may not be, because the record could not be read at the start, or because the other cells have loaded
        another build meanwhile, and did not see this one yet.
        """
        running = self._task is not None and not self._task.done()
        if running or not self._checks_left or not self._repository.loaded or self._deployments.busy:
            return
        if self._started is not None:
            self._checks_left -= 1
        if self._started is None or self.served(CANARY) != self._started:
            self._task = asyncio.create_task(self._serve_what_was_loaded())

    async def close(self) -> None:
        """Start nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    @property
    def _record(self) -> Rollout:
        return self._repository.stored or Rollout()

    async def _serve_what_was_loaded(self) -> None:
        try:
            if self._started is None:
                await self._see_settings()
            served, loaded = self.served(CANARY), of_path(self._record.builds, CANARY)
            build = self._cell.path_state(CANARY).build
            if loaded is not None and build == loaded.build:
                pass  # this cell was told to load it, as the others were
            elif self._started is None:
                await self._builds.start({CANARY: served})
            else:
                prepare = Prepare(served.source.factory, served.source.python, served.build or "")
                found = await self._deployments.prepare(prepare, self._cell.name)
                await self._deployments.adopt(Adopt(prepare.factory, prepare.python, found))
            self._started = served
        except StoreUnavailable:
            return  # the next second tries again
        except CrossfadeError as error:
            log.error("v3 is not served from what was loaded", error=str(error))
            self._checks_left = 0

    async def _see_settings(self) -> None:
        """Write down what this host's settings say, where a build was loaded in their place."""
        async with self._repository.turn:
            await self._repository.load()
            for path in PATHS:
                while not await self._saw(path):
                    await self._repository.load()

    async def _saw(self, path: PathName) -> bool:
        """False: another cell has changed the record meanwhile."""
        stored = self._record
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
