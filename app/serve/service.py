"""One cell, assembled. Only here adapters are picked by the settings: store, flags, workers and pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from pathlib import Path

import mmh3
import structlog

from app.api.access import Access, proxies_of
from app.api.page_source import PageSource
from app.control.controller import Controller
from app.control.history import SeriesHistory
from app.control.host_lock import HostLock
from app.control.lockfile import LockFile
from app.control.lookout import BusLookout
from app.control.retention import Retention
from app.data_folder import OPERATOR_TOKEN, DataFolder, FolderWatch
from app.errors import StoreUnavailable
from app.flags import Flags
from app.flags.embedded import EmbeddedFlags
from app.fleet.bus import CellFigures, NoBus
from app.fleet.host_bus import HostBus
from app.fleet.lease import Lease, holder_of
from app.gateway.admission import Admission
from app.gateway.builds import CellBuilds
from app.gateway.cell import Cell
from app.gateway.resume_index import ResumeIndex
from app.gateway.resume_store import ResumeStore
from app.gateway.session import Session
from app.gateway.session_opener import SessionOpener
from app.gateway.session_takeover import SessionTakeover
from app.metrics.counters import Counters
from app.metrics.crashes import Crashes
from app.metrics.prometheus import Metrics, ScrapedCell
from app.pool.death import Death
from app.pool.pools import WorkerPools
from app.secret import load_secret
from app.serve.names import cell_names, host_name
from app.serve.operator_token import OperatorToken
from app.settings import Settings
from app.store.connections import nothing_to_check
from app.store.port import Store
from app.store.sql import postgres_store, sqlite_store
from app.supervisor.threads import new_thread_id, owns_thread
from rollout.names import CANARY, PathName

IDLE_CHECK_S = 5.0
log = structlog.get_logger()


def make_store(settings: Settings, check: Callable[[], Awaitable[None]] = nothing_to_check) -> Store:
    """The store that the settings name. Raises `SettingError` for a URL that cannot be parsed.

    `check` raises `OSError` when nothing can be kept in the data folder.
    """
    if settings.store == "sqlite":
        return sqlite_store(Path(settings.data), check=check)
    return postgres_store(settings.store)


def make_lease(settings: Settings, store: Store, name: str, *, alone: bool) -> Lease | None:
    """The lease by which a cell leads; None: a cell that is alone on an embedded store leads without one."""
    if alone and settings.store == "sqlite":
        return None
    return Lease(store, holder_of(name))


def make_flags(settings: Settings) -> Flags:
    """The flag's adapter: the engine in this process, which needs no server."""
    return EmbeddedFlags(settings.flag)


def bucket_of(group_id: str, user_id: str) -> int:
    """Unleash's normalised hash, 1..100, in C; a test holds it equal to `rollout.cohort.bucket` and to the engine."""
    return int(mmh3.hash(f"{group_id}:{user_id}", 0, signed=False)) % 100 + 1


class Service:
    """One cell. Make it in the running event loop; `start` and `stop` are called there."""

    def __init__(self, settings: Settings, folder: DataFolder, name: str = "", bus: HostBus | None = None) -> None:
        """`folder` is the settings', and owned; `bus` is a cell's of several. Raises `SettingError`."""
        name = name or cell_names(settings, 1)[0]
        several = bus is not None
        self.settings = settings
        self.secret = load_secret(settings)
        self.counters = Counters()
        self._crashes = Crashes()
        self._wakeup = asyncio.Event()
        self._build: str | None = None
        self._ending = False
        self._hears_store = several or settings.store != "sqlite"
        self._tasks: list[asyncio.Task[None]] = []
        self._bus = bus
        host_bus = bus or NoBus()
        folder_watch = FolderWatch(folder)
        host_lock = HostLock(LockFile(folder))
        lookout = BusLookout(host_bus, host_lock) if several else None
        owns = partial(_owns_thread, self.secret)
        self.store = make_store(settings, folder_watch.check)
        self.resume_store = ResumeStore(self.store, name)
        self.resumes = ResumeIndex(self.resume_store, settings.resume_s, most=settings.max_sessions)
        self.cell = Cell(name, settings, self.counters, owns, bucket_of, observer=self, lookout=lookout)
        self.admission = Admission(settings, self.cell, partial(_new_thread, self.secret), owns)
        self.pools = WorkerPools(settings, self.secret, self.cell)
        self.flags = make_flags(settings)
        self.controller = Controller(
            cell=self.cell,
            store=self.store,
            flags=self.flags,
            host_lock=host_lock,
            folder=folder_watch,
            counters=self.counters,
            settings=settings,
            builds=CellBuilds(self.pools, self.cell),
            guard=self._crashes,
            bus=host_bus,
            sessions=self,
            lease=make_lease(settings, self.store, name, alone=not several),
            host="" if settings.store == "sqlite" else host_name(settings),
            wakeup=self._wakeup,
        )
        self.takeover = SessionTakeover(
            self.store, self.resumes, self.resume_store, name, self.controller.queries.session_wanted,
            alone=not several and settings.store == "sqlite",
        )  # fmt: skip
        self.session_opener = SessionOpener(self.cell, self.admission, self.resumes, self.takeover)
        self.history = SeriesHistory(self.cell, self.counters, self.store, fleet=self.controller.fleet)
        self.access = Access(
            self.store, self.secret.decode(), proxies=proxies_of(settings), root_path=settings.root_path
        )
        self.metrics = Metrics(self._scraped_cells)
        self.page_source = PageSource(self.controller, self.access, self.history)
        self.retention = Retention(self.store, lambda: self.controller.loop.leads)
        self.operator_token = OperatorToken(self.store, Path(settings.data) / OPERATOR_TOKEN)

    async def start(self) -> None:
        """The store, then the workers that the record asks for, then the record. Raises `FactoryError` without v2."""
        await self._open_store()
        await self.controller.loop.open()
        self.spawn(self.controller.loop.run())
        self.spawn(self.resume_store.run(self.resumes))
        self.spawn(self.takeover.run())
        self.spawn(self.history.run())
        self.spawn(self._close_idle())
        self.spawn(self.retention.run())
        self.spawn(self.operator_token.run())
        if self._hears_store:
            self.spawn(self._hear_store())

    def expect_end(self) -> None:
        """A planned stop begins: whatever ends from now on does not count as a crash. A signal's handler calls this."""
        self._ending = True

    def end_streams(self) -> None:
        """End what open pages hear; they ask again, and find whoever serves next."""
        self.controller.notifier.close()

    async def stop(self) -> None:
        """Stop everything in reverse order; every session has ended by now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.resume_store.close(self.resumes)
        await self.history.save()
        await self.admission.close()
        await self.controller.loop.close()
        await self.pools.stop()
        await self.flags.close()
        await self.store.close()
        if self._bus is not None:
            self._bus.close()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run this beside everything else, until the service stops."""
        self._tasks.append(asyncio.create_task(work))

    async def _hear_store(self) -> None:
        """Follow what other cells have saved; within a host the bus says it first."""
        async with aclosing(self.store.changes()) as changes:
            async for revision in changes:
                self.controller.sync.store_changed(revision)

    async def _open_store(self) -> None:
        try:
            await self.store.open()
            await self.access.open()
        except StoreUnavailable as error:
            log.error("the store does not answer; v2 is served until it does", error=str(error))

    # -- what the cell tells (CellObserver) ---------------------------------------------------------------------------

    def session_ended(self, session: Session) -> None:
        self.resumes.session_ended(session)

    def session_committed(self, session: Session) -> None:
        self.resumes.session_committed(session)

    def path_changed(self, path: PathName, death: Death | None) -> None:
        """Deaths of v3 count towards its guardrail, and make the control loop look at once."""
        if path != CANARY:
            return
        if death is not None and death.reason != "replaced" and not self._ending:
            self._crashes.died()
            self._wakeup.set()
        build = self.cell.path_state(CANARY).build
        if build is not None and build != self._build:
            self._build = build
            self._crashes.forget()  # nothing is known of the new build yet

    async def session_wanted(self, digest: str) -> bool:
        """Another cell of this host has the client of this session (SessionGiver). Raises StoreUnavailable."""
        return await self.takeover.wanted(digest)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            self.cell.close_idle()
            self.resumes.forget_expired()
            self.cell.forget_rates()
            self.admission.forget_addresses()
            self.counters.errors.forget(self.cell.wall_clock())

    # -- what is scraped ----------------------------------------------------------------------------------------------

    async def _scraped_cells(self) -> list[ScrapedCell]:
        """What `/metrics` shows: every cell of this host that answers."""
        return [_scraped(name, figures) for name, figures in (await self.controller.queries.figures()).items()]


def _scraped(name: str, figures: CellFigures) -> ScrapedCell:
    return ScrapedCell(
        name=name,
        slots=figures.slots,
        paths=figures.paths,
        percentage=figures.percentage,
        phase=figures.phase,
        flag_age_s=figures.flag_age_s,
    )


def _owns_thread(secret: bytes, user_id: str, thread_id: str) -> bool:
    return owns_thread(user_id, thread_id, secret)


def _new_thread(secret: bytes, user_id: str) -> str:
    return new_thread_id(user_id, secret)
