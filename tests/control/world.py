"""A control loop with everything real but the sockets, and a store and a disk that can be told to fail."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import event

from app.control.controller import Controller
from app.control.host_lock import HostLock
from app.control.lockfile import LockFile
from app.control.lookout import BusLookout
from app.control.ports import Guard
from app.control.record import read_record
from app.data_folder import DataFolder, FolderWatch, make_folder
from app.errors import StoreUnavailable
from app.flags.embedded import EmbeddedFlags
from app.fleet.bus import Bus, NoBus
from app.fleet.lease import Lease
from app.metrics.counters import Counters
from app.settings import Settings
from app.store.connections import nothing_to_check
from app.store.port import StoredRecord
from app.store.sql import SqlStore, sqlite_store
from rollout.cohort import bucket
from rollout.events import Notify
from rollout.state import Lock, Rollout
from rollout.views import AuditEntry, RollbackView, VerdictView
from tests.control.memory_builds import MemoryBuilds
from tests.control.memory_cell import GROUP, MemoryCell

USERS = 100


class NoGuard:
    """Nobody watches: no verdict, so nothing advances automatically that asks for one."""

    def verdicts(self) -> Sequence[VerdictView]:
        return ()

    def new_epoch(self, percentage: int) -> None:
        """Nothing to begin."""


class FragileStore(SqlStore):
    """The real store, which can be cut off, or held in the middle of saving a record."""

    def __init__(self, real: SqlStore, log: list[str], check: Callable[[], Awaitable[None]] = nothing_to_check) -> None:
        super().__init__(real.engines, check=check)
        for engine in real.groups:
            event.listen(engine.sync_engine, "begin", self._require_reachable)
        self.log = log
        self._failing = False
        self._go = asyncio.Event()
        self._go.set()
        self._held = asyncio.Event()
        self._saves_left = -1
        self._rewritten = asyncio.Event()
        self._answer = asyncio.Event()
        self._answer.set()

    def fail(self, failing: bool) -> None:
        self._failing = failing

    def _require_reachable(self, connection: object) -> None:
        if self._failing:
            raise OSError("cut off")

    def pause(self) -> None:
        self._go.clear()

    async def waiting(self) -> None:
        await self._held.wait()

    def go_on(self) -> None:
        self._go.set()

    def last_save(self) -> None:
        """Let what is held be saved, and nothing after it."""
        self._saves_left = 1
        self._go.set()

    async def save_record(self, record: StoredRecord, expected: int | None, entry: AuditEntry) -> None:
        self._held.set()
        await self._go.wait()
        if self._saves_left == 0:
            raise StoreUnavailable("cut off")
        self._saves_left -= 1
        await super().save_record(record, expected, entry)
        self.log.append("record saved")

    def hold_rewrite(self) -> None:
        """The next text that is rewritten is in the store, and whoever wrote it does not know so before `answer`."""
        self._rewritten.clear()
        self._answer.clear()

    async def rewritten(self) -> None:
        await self._rewritten.wait()

    def answer(self) -> None:
        self._answer.set()

    async def rewrite_record(self, record: StoredRecord) -> None:
        await super().rewrite_record(record)
        self._rewritten.set()
        await self._answer.wait()


class LoggedLockFile(LockFile):
    """The real file, on a disk that can be told to fail or to hang."""

    def __init__(self, folder: Path | DataFolder, log: list[str]) -> None:
        super().__init__(folder)
        self.log = log
        self.fails = 0
        """Number of the error of every write; 0: none."""
        self.calls = 0
        self.removing = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()
        self._answers = threading.Event()
        self._answers.set()

    def hold_removal(self) -> None:
        """The next removal waits for `let_go`, as on a slow disk; `removing` says that it began."""
        self.let_go.clear()

    def hang(self) -> None:
        """Every call waits for `release`."""
        self._answers.clear()

    def release(self) -> None:
        self._answers.set()

    def remove(self) -> None:
        self.removing.set()
        self.let_go.wait(5)
        super().remove()

    def reserve(self) -> None:
        self._disk()
        super().reserve()

    def write(self, lock: Lock) -> None:
        self._disk()
        super().write(lock)
        self.log.append("lock on disk")

    def look(self) -> Lock | None:
        self._disk(writes=False)
        return super().look()

    def lift(self, generation: int, known: Collection[Lock]) -> None:
        self._disk()
        super().lift(generation, known)

    def _disk(self, *, writes: bool = True) -> None:
        self.calls += 1
        self._answers.wait(30)
        if writes and self.fails:
            raise OSError(self.fails, os.strerror(self.fails))


class NoSessions:
    """No client ever comes back to another cell."""

    async def session_wanted(self, digest: str) -> bool:
        return False


@dataclass
class World:
    control: Controller
    cell: MemoryCell
    store: FragileStore
    flags: EmbeddedFlags
    lock_file: LoggedLockFile
    counters: Counters
    builds: MemoryBuilds
    host_lock: HostLock
    lookout: BusLookout
    wakeup: asyncio.Event
    log: list[str]
    notices: list[Notify]
    now: float = 1_000_000.0
    """Unix seconds; may be set to anything."""
    monotonic: float = 0.0

    @classmethod
    async def make(
        cls,
        folder: Path,
        name: str = "a",
        *,
        database: Path | None = None,
        guard: Guard | None = None,
        store_down: bool = False,
        bus: Bus | None = None,
        host: str = "",
        several: bool = False,
        settings: Settings | None = None,
        data_folder: DataFolder | None = None,
        failing: int = 0,
    ) -> World:
        """`several`: other cells share the store, and the one that holds its lease leads.

        `data_folder` is the folder, where the cell owns it; `failing`: number of the error of the lock's disk.
        """
        log: list[str] = []
        make_folder(folder)
        data = FolderWatch(data_folder or DataFolder(folder))
        store = FragileStore(sqlite_store(database or folder), log, data.check)
        cell, flags, counters = MemoryCell(name, USERS, log), EmbeddedFlags(GROUP), Counters()
        builds = MemoryBuilds(cell, log)
        lock_file = LoggedLockFile(data_folder or folder, log)
        lock_file.fails = failing
        host_lock, bus, wakeup = HostLock(lock_file), bus or NoBus(), asyncio.Event()
        notices: list[Notify] = []
        world: World
        control = Controller(
            cell=cell,
            store=store,
            flags=flags,
            host_lock=host_lock,
            folder=data,
            counters=counters,
            settings=settings or Settings(),
            builds=builds,
            guard=guard or NoGuard(),
            notify=notices.append,
            clock=lambda: world.now,
            monotonic=lambda: world.monotonic,
            bus=bus,
            sessions=NoSessions(),
            lease=Lease(store, f"{name}/1", lambda: world.monotonic) if several else None,
            host=host,
            wakeup=wakeup,
        )
        lookout = BusLookout(bus, host_lock)
        world = cls(control, cell, store, flags, lock_file, counters, builds, host_lock, lookout, wakeup, log, notices)
        store.fail(store_down)
        with suppress(StoreUnavailable):
            await store.open()
        await control.loop.open()
        return world

    async def close(self) -> None:
        await self.control.loop.close()
        await self.store.close()
        await self.flags.close()

    async def abandon(self) -> None:
        """Let go of what a dead process would not hold either; nothing is written any more."""
        self.store.fail(True)
        await self.control.loop.close()
        await self.store.close()
        await self.flags.close()

    async def elapse(self, seconds: int) -> None:
        """So long passes on every clock, with a tick of the control loop each second."""
        for _ in range(seconds):
            self.now += 1
            self.monotonic += 1
            await self.control.loop.tick()
            await self.control.loop.keep_lock()

    @property
    def users(self) -> list[str]:
        return [session.user_id for session in self.cell.members]

    def bucket_of(self, user: str) -> int:
        return bucket(GROUP, user)

    async def stored(self) -> Rollout:
        record = await self.store.load_record()
        assert record is not None
        return read_record(record)

    async def verified(self) -> RollbackView:
        """The last rollback, once it was seen complete."""
        await self.until(lambda: self._rollback() is not None and self._rollback().verified_at is not None)  # type: ignore[union-attr]
        done = self._rollback()
        assert done is not None
        return done

    def _rollback(self) -> RollbackView | None:
        return self.control.snapshot().rollback

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110 - whatever comes true in a turn of the loop, not after a time
                await asyncio.sleep(0)
