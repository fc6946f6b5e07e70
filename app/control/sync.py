"""One cell's conversation with the others: what it tells them, and what becomes of what they say.

A hint from anywhere (bus, store) only leads to reading; a lock is in force at once. It must not know HTTP or SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from app.control.receipt import Receipt
from app.control.rollback import Rollbacks
from app.control.state import Desk
from app.control.views import own_figures
from app.errors import StoreUnavailable
from app.fleet.bus import Answer, Ask, BusMessage, CellFigures, CellReport, Changed, Locked, ReceiptSeen
from app.fleet.rpc import HostRpc
from app.metrics.user_marks import pack
from app.store.port import StoredRecord
from rollout.names import PATHS

SPEAK_S = 1.0
CUT_OFF_S = 10.0
"""A cell of several without word from the others for so long does not know whether they rolled back."""
log = structlog.get_logger()

Follow = Callable[[Changed | None], Awaitable[None]]


class Sync:
    """`follow` is called with what is new, one call at a time; None: whatever the store says."""

    def __init__(self, desk: Desk, rollbacks: Rollbacks, asking: HostRpc, follow: Follow) -> None:
        self._desk = desk
        self._fleet = desk.fleet
        self._rollbacks = rollbacks
        self._asking = asking
        self.on_present: Callable[[], None] = lambda: None
        """Called when cells came or went."""
        self.on_verdicts: Callable[[], None] = lambda: None
        """Called when another cell has found something else than before."""
        self._follow = follow
        self._news: Changed | None = None
        self._arrived = asyncio.Event()
        self._heard_store_at = desk.fleet.clock()
        bus = desk.fleet.bus
        bus.on_message = self._hear
        bus.on_present = self._present
        desk.keeper.on_saved = self._saved

    async def run(self) -> None:
        """Speak once a second and follow what others say, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._speak())
            group.create_task(self._follow_news())

    # -- what this cell tells -----------------------------------------------------------------------------------------

    def say(self) -> None:
        """This cell as it is now, for pages that another one shows."""
        if len(self._fleet.names_here()) > 1:
            marks = {path: pack(self._desk.cell.users_on(path)) for path in PATHS}
            self._fleet.compare(marks)
            self._fleet.bus.tell(msgspec.structs.replace(own_figures(self._desk.known()), marks=marks))

    def pins_changed(self) -> None:
        """The store has other pins."""
        self._fleet.bus.tell(Changed(self._desk.force.state.revision, "", pins=True))

    def _saved(self, record: StoredRecord) -> None:
        self._fleet.bus.tell(Changed(record.revision, record.text))

    async def _speak(self) -> None:
        while True:
            try:
                self.say()
                self._check_cut_off()
            except Exception:
                log.exception("a report of this cell failed")
            await asyncio.sleep(SPEAK_S)

    # -- what this cell hears -----------------------------------------------------------------------------------------

    def _hear(self, sender: str, message: BusMessage) -> None:
        if isinstance(message, CellFigures):
            before = self._fleet.others().get(sender)
            self._fleet.hear(sender, message)
            if before is not None and before.verdicts != message.verdicts:
                self.on_verdicts()
            return
        self._fleet.hear(sender)
        match message:
            case Locked():
                self._rollbacks.merge(message.lock, sender)
            case Changed():
                self._note(message)
            case CellReport():
                self._rollbacks.watch.hear(sender, message)
            case ReceiptSeen():
                receipt = msgspec.json.decode(message.receipt, type=Receipt)
                self._rollbacks.watch.hear_receipt(sender, receipt)
            case Ask():
                self._asking.hear_question(sender, message)
            case Answer():
                self._asking.hear_answer(sender, message)

    def look_around(self) -> None:
        """Before anybody is admitted to v3: what was said or written while this process did not run counts first."""
        self._fleet.bus.read()
        lock = self._desk.force.lock_of_others()
        if lock is not None:
            log.warning("a rollback lock lies on the disk that nobody told of", by=lock.by)
            self._rollbacks.merge(lock, "")

    def store_changed(self, revision: int) -> None:
        """The store says that it has this revision."""
        self._note(Changed(revision, "", pins=True))

    def _note(self, news: Changed) -> None:
        known = self._news
        pins = news.pins or (known is not None and known.pins)
        newest = news if known is None or (news.revision, news.text) > (known.revision, known.text) else known
        self._news = Changed(newest.revision, newest.text, pins)
        self._arrived.set()

    async def _follow_news(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            news, self._news = self._news, None
            try:
                async with self._desk.changing:
                    await self._follow(news)
                self.say()
            except StoreUnavailable:
                continue  # the next tick looks again
            except Exception:
                log.exception("what another cell has changed is not in force here yet", news=news and news.revision)

    def _present(self) -> None:
        self._fleet.present()
        self._asking.gone()
        self.on_present()
        self._rollbacks.watch.present()
        self._desk.changes.tell()
        self.say()

    # -- cut off ------------------------------------------------------------------------------------------------------

    def _check_cut_off(self) -> None:
        """Without store and bus for long, a rollback of others could not be heard: then v2, unless told to hold."""
        force, now = self._desk.force, self._fleet.clock()
        if not self._desk.keeper.down:
            self._heard_store_at = now
        lost_s = now - self._heard_store_at
        if not self._fleet.on_several_hosts:
            lost_s = min(lost_s, self._fleet.bus.silent_s())  # one of the two is enough to hear the others
        cut_off = not self._fleet.alone and lost_s >= CUT_OFF_S and self._desk.settings.partition == "v2"
        if cut_off != force.cut_off:
            force.cut_off = cut_off
            log.warning("cut off from the other cells: v2 only" if cut_off else "the other cells are heard again")
            force.publish()
            self._desk.changes.tell()
