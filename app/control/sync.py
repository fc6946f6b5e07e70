"""Keeps one cell in step with the others: what it tells them, and what it does with their messages.

News of a change, from bus or store, only leads to reading it; a lock is put in force at once.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from app.control.deploy import Deployments
from app.control.follower import Follower
from app.control.notifier import Notifier
from app.control.partition import Partition
from app.control.ports import CellPort, SessionGiver
from app.control.queries import FleetQueries
from app.control.receipt import Receipt
from app.control.repository import Repository
from app.control.rollback import Rollbacks
from app.control.snapshots import Snapshots
from app.control.verification import Verification
from app.control.views import own_figures
from app.errors import StoreUnavailable
from app.fleet.bus import Answer, Ask, BusMessage, CellFigures, CellReport, Changed, Locked, ReceiptSeen
from app.fleet.members import Fleet
from app.fleet.questions import Abandon, Adopt, Prepare, Question, Wanted
from app.fleet.rpc import HostRpc
from app.metrics.user_marks import pack
from rollout.names import PATHS

SPEAK_S = 1.0
log = structlog.get_logger()


class Sync:
    """The `app.fleet.bus.BusListener` of one cell."""

    def __init__(
        self,
        *,
        cell: CellPort,
        fleet: Fleet,
        rpc: HostRpc,
        queries: FleetQueries,
        deployments: Deployments,
        rollbacks: Rollbacks,
        verification: Verification,
        follower: Follower,
        repository: Repository,
        partition: Partition,
        snapshots: Snapshots,
        notifier: Notifier,
        wakeup: asyncio.Event,
        sessions: SessionGiver,
    ) -> None:
        """`wakeup` is set when there is something new for a guardrail to judge."""
        self._cell = cell
        self._fleet = fleet
        self._rpc = rpc
        self._queries = queries
        self._deployments = deployments
        self._rollbacks = rollbacks
        self._verification = verification
        self._follower = follower
        self._repository = repository
        self._partition = partition
        self._snapshots = snapshots
        self._notifier = notifier
        self._wakeup = wakeup
        self._sessions = sessions
        self._news: Changed | None = None
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Send this cell's figures once a second, and follow what others have changed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._speak())
            group.create_task(self._follow_news())

    # -- what this cell tells -----------------------------------------------------------------------------------------

    def say(self) -> None:
        """Send this cell's figures to the cells of this host, for the pages that they show."""
        if len(self._fleet.names_here()) > 1:
            marks = {path: pack(self._cell.users_on(path)) for path in PATHS}
            self._fleet.compare(marks)
            self._fleet.bus.tell(msgspec.structs.replace(own_figures(self._snapshots.take()), marks=marks))

    def pins_changed(self, revision: int) -> None:
        """This cell has just changed the pins in the store."""
        self._fleet.bus.tell(Changed(revision, "", pins=True))

    async def _speak(self) -> None:
        while True:
            try:
                self.say()
                self._partition.check()
            except Exception:
                log.exception("sending this cell's figures failed")
            await asyncio.sleep(SPEAK_S)

    # -- what this cell hears -----------------------------------------------------------------------------------------

    def hear(self, sender: str, message: BusMessage) -> None:
        if isinstance(message, CellFigures):
            self._hear_figures(sender, message)
            return
        if sender:
            self._fleet.hear(sender)
        match message:
            case Locked():
                self._rollbacks.merge(message.lock, sender)
            case Changed():
                self._note(message)
            case CellReport():
                self._verification.hear(sender, message)
            case ReceiptSeen():
                self._verification.hear_receipt(msgspec.json.decode(message.receipt, type=Receipt))
            case Ask():
                self._rpc.hear_question(sender, message, self._answer)
            case Answer():
                self._rpc.hear_answer(sender, message)

    def _hear_figures(self, sender: str, figures: CellFigures) -> None:
        before = self._fleet.others().get(sender)
        self._fleet.hear(sender, figures)
        if before is not None and before.verdicts != figures.verdicts:
            self._wakeup.set()

    def present(self) -> None:
        self._fleet.present()
        self._rpc.gone()
        self._deployments.gone()
        self._verification.present()
        self._notifier.tell()
        self.say()

    async def _answer(self, question: Question, cell: str) -> object:
        """This cell's own answer to the cell that asks. Raises `CrossfadeError`."""
        match question:
            case Prepare():
                return await self._deployments.prepare(question, cell)
            case Adopt():
                loaded = await self._deployments.adopt(question)
                self._notifier.tell()
                self.say()
                return loaded
            case Abandon():
                await self._deployments.abandon(cell)
                return None
            case Wanted():
                return await self._sessions.session_wanted(question.digest)
            case _:
                return self._queries.answer(question)

    # -- what the store has -------------------------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether there is news that is not followed yet."""
        return self._news is not None

    def store_changed(self, revision: int) -> None:
        """The store has this revision, or other pins."""
        self._note(Changed(revision, "", pins=True))

    def _note(self, news: Changed) -> None:
        earlier = self._news
        pins = news.pins or (earlier is not None and earlier.pins)
        newest = news if earlier is None or (news.revision, news.text) > (earlier.revision, earlier.text) else earlier
        self._news = Changed(newest.revision, newest.text, pins)
        self._arrived.set()

    async def _follow_news(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            news, self._news = self._news, None
            try:
                async with self._repository.turn:
                    await self._follower.follow(news)
                self.say()
            except StoreUnavailable:
                continue  # the next tick reads again
            except Exception:
                log.exception("what another cell has changed is not in force here yet", news=news and news.revision)
