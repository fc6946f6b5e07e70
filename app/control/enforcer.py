"""Puts a record in force in this cell: lock file, flag and sessions, each tried again until it holds.

It decides nothing and saves nothing; must not know of the store, of commands or of people.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from app.control.lockfile import UNKNOWN, LockFile
from app.control.ports import CellPort
from app.control.views import FlagStatus
from app.errors import CrossfadeError
from app.flags import Flags
from app.gateway.sweep import Sweep
from app.settings import Settings
from rollout.assign import View
from rollout.names import CANARY, PathName
from rollout.state import Lock, Rollout

LOCK_S = 1.0
"""A disk that has not taken the lock by then does not hold a rollback up; it is tried again every second."""
FLAG_STALE_S = 30.0
"""A flag not read for longer is not known well enough for anything to advance by itself."""
log = structlog.get_logger()


class Enforcer:
    """What is in force here; `state` and `pins` are set by the controller, before it calls."""

    def __init__(
        self, cell: CellPort, flags: Flags, lock_file: LockFile, settings: Settings, clock: Callable[[], float]
    ) -> None:
        self.cell = cell
        self.flags = flags
        self.state = Rollout()
        self.pins: Mapping[str, PathName] = {}
        self.cut_off = False
        """Too long without word from the others: v2, whatever was known last."""
        self.disk = asyncio.Lock()
        """Held around every change of the lock file, and by a rollback until its view is in force."""
        self._lock_file = lock_file
        self._settings = settings
        self._clock = clock
        self._on_disk: Lock | None = None
        self._made: set[Lock] = set()
        """Those that this cell put there, or is putting there now: whoever ordered them knows of them."""
        self._stamp: tuple[int, int] | None = None
        self._flag_turn = asyncio.Lock()
        self._flag_is: int | None = None

    def view(self) -> View:
        """What this cell decides by."""
        return View(
            forced=self._settings.forced,
            locked=self.state.lock is not None,
            v3_available=self.cell.path_state(CANARY).available,
            v3_withheld=self.cut_off,
            pins=self.pins,
            flag=self.flags.rule(),
        )

    def publish(self, *, rollback: bool = False, everyone: bool = False) -> Sweep:
        """View first, then sweep; under a lock every sweep is a rollback's.

        `everyone`: open sessions too, whatever the plan says of new connections.
        """
        plan = self.state.plan
        rollback = rollback or self.state.lock is not None
        return self.cell.apply(
            self.view(),
            rollback=rollback,
            per_second=0 if rollback else plan.ramp_per_second or self._settings.ramp_per_second,
            move_existing=rollback or everyone or not plan.new_connections_only,
        )

    # -- the lock -------------------------------------------------------------------------------------------------

    async def find_lock(self) -> Lock | None:
        """The lock that an earlier process left."""
        self._on_disk = await asyncio.to_thread(self._lock_file.read)
        return self._on_disk

    def lock_of_others(self) -> Lock | None:
        """A lock on the disk that is not in force here yet: another cell of this host made it. Raises nothing."""
        try:
            stamp = self._lock_file.stamp()
            if stamp is None or stamp == self._stamp or self.state.lock is not None:
                return None
            lock = self._lock_file.read()
        except OSError as error:
            log.error("the rollback lock cannot be looked at", error=str(error))
            return None
        if lock is None or UNKNOWN < lock.generation < self.state.generation:
            self._stamp = stamp  # lifted, and about to be removed
            return None
        return None if lock in self._made else lock

    async def write_lock(self, lock: Lock) -> None:
        """Put it on the disk; the caller holds `disk`. A disk that fails or hangs is logged and tried again later."""
        self._made.add(lock)
        try:
            async with asyncio.timeout(LOCK_S):
                await asyncio.to_thread(self._lock_file.write, lock)
        except (OSError, TimeoutError) as error:
            log.error("the rollback lock is not on the disk", error=str(error) or type(error).__name__)
            self._on_disk = None
        else:
            self._on_disk = lock

    async def settle_lock(self) -> None:
        """Make the file say what the record says: written again, replaced, or removed."""
        async with self.disk:
            lock = self.state.lock
            if lock is not None:
                if lock != self._on_disk and lock == await asyncio.to_thread(self._lock_file.read):
                    self._on_disk = lock  # another cell of this host was faster
                if lock != self._on_disk:
                    await self.write_lock(lock)
                return
            try:
                await asyncio.to_thread(self._lock_file.lift, self.state.generation, self._on_disk)
            except OSError as error:
                log.error("the rollback lock cannot be removed", error=str(error))
            else:
                self._on_disk = None

    # -- the flag -------------------------------------------------------------------------------------------------

    async def write_flag(self) -> bool:
        """Bring the flag to the record; False: it could not be reached, and is tried again every second."""
        async with self._flag_turn:
            state = self.state
            try:
                await self.flags.apply(state)
            except CrossfadeError as error:
                log.warning("the flag does not follow yet", error=str(error), percentage=state.percentage)
                self._flag_is = None
                return False
            self._flag_is = state.revision
            return True

    @property
    def flag_known(self) -> bool:
        """Whether the flag was read lately."""
        age_s = self.flags.age_s(self._clock())
        return age_s is not None and age_s <= FLAG_STALE_S

    @property
    def flag_status(self) -> FlagStatus:
        """In the words of the pages."""
        if not self._settings.unleash_url:
            return "embedded"
        if not self.flag_known:
            return "unreachable"
        if self._flag_is != self.state.revision and self.flags.percentage() != self.state.percentage:
            return "pending"
        return "in step" if self.flags.percentage() == self.state.percentage else "changed outside"

    async def retry(self) -> None:
        """Whatever did not hold the last time."""
        if self.state.lock is not None and self._on_disk != self.state.lock:
            await self.settle_lock()
        if self._flag_is is None and await self.write_flag():
            self.publish()
