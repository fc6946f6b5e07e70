"""The store as the control plane sees it: the record that it has, whether it answers, and what is still to be written.

What could not be written waits here, and is written when the store is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic

import msgspec
import structlog

from app.control.clock import RolloutClock
from app.control.receipt import Receipt
from app.control.record import read_record, write_record
from app.errors import StoreUnavailable
from app.fleet.lease import NAME as LEASE
from app.fleet.lease import cell_of
from app.store.port import AuditSize, RevisionTaken, Store, StoredRecord, StoredRollback
from rollout.names import PATHS, PathName
from rollout.state import Rollout
from rollout.views import EVERYTHING, AuditEntry, AuditFilter, AuditPage

WAITING = 1000
"""Audit entries kept while the store is down; beyond that the oldest are lost, but the log has them."""
MEASURED_S = 60.0
"""The size of the audit is asked for again after so long."""
log = structlog.get_logger()


class Repository:
    """One store, and what is known of it. All calls raise `StoreUnavailable` unless they say otherwise."""

    def __init__(
        self, store: Store, clock: RolloutClock, announce: Callable[[StoredRecord], None] = lambda record: None
    ) -> None:
        """`clock` takes the time from every record; `announce` is called with every record that is saved here."""
        self._store = store
        self._clock = clock
        self._announce = announce
        self.turn = asyncio.Lock()
        """Held while a change is decided and saved; a rollback is in force without it."""
        self.stored: Rollout | None = None
        """The record in the store, as far as known; None: there is none yet."""
        self.loaded = False
        """Whether the record was read at all."""
        self.down = False
        self._flushing = asyncio.Lock()
        self._entries: deque[AuditEntry] = deque(maxlen=WAITING)
        self._receipts: dict[str, Receipt] = {}
        self._flushes: set[asyncio.Task[None]] = set()
        self._audit_size: tuple[float, AuditSize] | None = None
        """When it was measured, in monotonic seconds, and what came of it."""
        self._text = ""
        """The text of `stored`."""

    async def load(self) -> bool:
        """Read the record; returns whether it has changed. That its clock went on is no change."""
        with self._watched():
            record = await self._store.load_record()
        before, loaded = self.stored, self.loaded
        self.loaded = True
        if record is None:
            return not loaded
        if loaded and record.text == self._text:
            return False
        rollout = read_record(record)
        self._take(rollout, record)
        return not loaded or before is None or replace(rollout, elapsed_s=before.elapsed_s) != before

    def learn(self, record: StoredRecord) -> bool:
        """Take a record that another cell has saved; returns whether it is newer. Raises `UnreadableRecord`."""
        if not self.loaded or (self.stored is not None and record.revision <= self.stored.revision):
            return False
        self._take(read_record(record), record)
        return True

    def _take(self, rollout: Rollout, record: StoredRecord) -> None:
        self.stored, self._text = rollout, record.text
        self._clock.read(rollout.elapsed_s)

    async def save(self, rollout: Rollout, entry: AuditEntry) -> None:
        """Replace the record and add the entry, both or neither. Raises `RevisionTaken` if it has changed."""
        expected = None if self.stored is None else self.stored.revision
        record = write_record(rollout)
        with self._watched():
            await self._store.save_record(record, expected, entry)
        self._take(rollout, record)
        self._announce(record)

    async def save_clock(self) -> None:
        """Save the time of the rollout's clock, without a new revision, an audit entry or an announcement.

        A record that somebody else has changed meanwhile has a time of its own, and is left as it is.
        """
        before = self.stored
        if before is None:
            return
        rollout = replace(before, elapsed_s=max(before.elapsed_s, self._clock.elapsed_s))
        record = write_record(rollout)
        with suppress(RevisionTaken), self._watched():
            await self._store.rewrite_record(record)
            if self.stored is before:
                self._take(rollout, record)

    async def append(self, entry: AuditEntry) -> None:
        """Add an audit entry now."""
        with self._watched():
            await self._store.append_audit(entry)

    def wait(self, entry: AuditEntry) -> None:
        """Keep an entry for the next `flush`."""
        log.info("audit", who=entry.who, what=entry.what, reason=entry.reason, revision=entry.revision)
        self._entries.append(entry)

    def hold(self, receipt: Receipt) -> None:
        """Write a receipt in a moment, or when the store is back."""
        self._receipts[receipt.rollback.id] = receipt
        task = asyncio.get_running_loop().create_task(self.flush())
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def flush(self) -> None:
        """Write what waits, as far as the store answers. Raises nothing."""
        try:
            async with self._flushing:
                await self._flush()
        except StoreUnavailable:
            return

    async def _flush(self) -> None:
        with self._watched():
            while self._entries:
                await self._store.append_audit(self._entries[0])
                self._entries.popleft()
            for receipt in list(self._receipts.values()):
                text = msgspec.json.encode(receipt).decode()
                await self._store.save_rollback(StoredRollback(receipt.rollback.id, receipt.rollback.at, text))
                if self._receipts.get(receipt.rollback.id) is receipt:
                    del self._receipts[receipt.rollback.id]

    async def receipt(self, id: str | None = None) -> Receipt | None:
        """The receipt of a rollback, or of the last one."""
        if id in self._receipts:
            return self._receipts[id]
        with self._watched():
            rollback = await self._store.load_rollback(id)
        if rollback is None:
            return None
        try:
            return msgspec.json.decode(rollback.text, type=Receipt)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning(
                "a receipt cannot be read; another version may have written it", id=rollback.id, error=str(error)
            )
            return None

    async def leader(self) -> str:
        """The cell that takes the automatic steps; empty: none at the moment."""
        with self._watched():
            holder = await self._store.load_lease(LEASE)
        return "" if holder is None else cell_of(holder)

    async def events(self, before: int | None = None, limit: int = 50, wanted: AuditFilter = EVERYTHING) -> AuditPage:
        """A page of the audit entries that are `wanted`, the newest first."""
        with self._watched():
            return await self._store.load_audit(before, limit, wanted)

    async def audit_size(self) -> AuditSize:
        """About how much audit there is, at most a minute old."""
        if self._audit_size is None or monotonic() - self._audit_size[0] >= MEASURED_S:
            with self._watched():
                self._audit_size = monotonic(), await self._store.measure_audit()
        return self._audit_size[1]

    async def pins(self) -> Mapping[str, PathName]:
        """All pins, without those to a path that only another version has: whoever has one is decided by the flag."""
        with self._watched():
            pins = await self._store.load_pins()
        known = {user_id: path for user_id, path in pins.items() if path in PATHS}
        if len(known) < len(pins):
            log.warning(
                "pins to unknown paths are left out; another version may have made them", pins=len(pins) - len(known)
            )
        return known

    async def save_pin(self, user_id: str, path: PathName | None, entry: AuditEntry) -> None:
        """Pin a user, or unpin them with None, and add the audit entry."""
        with self._watched():
            await self._store.save_pin(user_id, path, entry)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable as error:
            if not self.down:
                log.warning("the store is down", error=str(error))
            self.down = True
            raise
        except RevisionTaken:
            self.down = False
            raise
        if self.down:
            log.info("the store is back")
        self.down = False
