"""A cell turned by hand: its clocks stand still, its timers fire when a test says so, its workers say what a test says.

Real objects behind the gateway's own protocols; nothing here knows what a correct answer is.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from app.gateway.admission import Admission, Occupancy
from app.gateway.cell import Cell
from app.gateway.identity import Identity
from app.gateway.message import AcceptedMessage
from app.gateway.ports import ClientSocket, Lookout, MessageOutcome, Receiver, SavedSessions, Socket, Timer
from app.gateway.resume_index import ResumeIndex, digest_of
from app.gateway.saved_session import SavedSession
from app.gateway.session import Session
from app.gateway.session_opener import SessionOpener
from app.link.frames import Cancel, Close, Done, Open, Run, RunEvent, Started, ToWorker, Traffic
from app.messages import render
from app.metrics.counters import MESSAGES, Counters
from app.pool.death import Death, DownReason
from app.settings import Settings
from rollout.assign import FlagRule, View
from rollout.names import PathName

ROOMY = Settings(rate_messages_per_minute=600_000, rate_messages_burst=100_000)
"""Limits that no test reaches by accident."""

Json = dict[str, Any]


def frame(type: str = "chat", message_id: str | None = None, **rest: object) -> str:
    """What a client sends; a chat has content unless the test gives another payload."""
    envelope: Json = {"type": type}
    if message_id is not None:
        envelope["message_id"] = message_id
    if type == "chat":
        envelope["payload"] = {"content": "hello"}
    return json.dumps(envelope | rest)


def flag(percentage: int) -> FlagRule:
    return FlagRule("group", percentage, bucket_only=True, enabled=True, key=("group",))


class HandTimer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandTime:
    """Clocks that stand still and timers that fire when time is said to pass."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, HandTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1e9

    def later(self, seconds: float, call: Callable[[], None]) -> HandTimer:
        timer = HandTimer(self.now + seconds, call)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    def pending(self) -> list[float]:
        """In how many seconds the timers fire that still would."""
        return sorted(at - self.now for at, _, timer in self._timers if not timer.cancelled)

    def turn(self) -> None:
        """One turn of the loop: what is due by now, without what it makes due."""
        due = sorted(timer for timer in self._timers if timer[0] <= self.now)
        self._timers = [timer for timer in self._timers if timer not in due]
        heapq.heapify(self._timers)
        for _, _, timer in due:
            if not timer.cancelled:
                timer.call()

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire in order, each at its time."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            at, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, at)
            if not timer.cancelled:
                timer.call()
        self.now = until


class Storage:
    """Saved sessions kept where another cell finds them."""

    def __init__(self) -> None:
        self.kept: dict[str, SavedSession] = {}
        self.spent: list[str] = []

    def save(self, digest: str, saved: SavedSession) -> None:
        self.kept[digest] = saved

    def drop(self, digest: str) -> None:
        pass

    def spend(self, digest: str) -> None:
        self.spent.append(digest)
        self.kept.pop(digest, None)

    async def take(self, token: str, user_id: str) -> SavedSession | None:
        return self.kept.pop(digest_of(token, user_id), None)


class Observer:
    """What a cell told, kept for the test and passed on to the index of resumes, as a service does."""

    def __init__(self, resumes: ResumeIndex) -> None:
        self.ended_keys: list[int] = []
        self.commits: list[bytes | None] = []
        self.path_changes: list[tuple[PathName, DownReason | None]] = []
        self._resumes = resumes

    def pass_on_to(self, resumes: ResumeIndex) -> None:
        """Another index than the cell's own."""
        self._resumes = resumes

    def session_ended(self, session: Session) -> None:
        self.ended_keys.append(session.key)
        self._resumes.session_ended(session)

    def session_committed(self, session: Session) -> None:
        self.commits.append(session.document)
        self._resumes.session_committed(session)

    def path_changed(self, path: PathName, death: Death | None) -> None:
        self.path_changes.append((path, None if death is None else death.reason))


class Client:
    """A client's socket that keeps what it was sent; `backlog` bytes of it are not read."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.backlog = 0
        self.gone = False
        """Gone before the handshake was over."""
        self.silent = False
        self.asked = 0
        self.receiver: Receiver | None = None

    def attach(self, receiver: Receiver) -> bool:
        self.receiver = None if self.gone else receiver
        return not self.gone

    def send(self, frame: bytes) -> None:
        if self.closed is None:
            self.frames.append(frame)

    def hold(self, frame: bytes) -> None:
        self.send(frame)

    def hurry(self) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        self.receiver = None
        if self.closed is None:
            self.closed = (code, reason)

    def buffered_bytes(self) -> int:
        return self.backlog

    def ask(self) -> asyncio.Future[None]:
        """It answers unless it has become `silent`."""
        self.asked += 1
        answer = asyncio.get_running_loop().create_future()
        if not self.silent:
            answer.set_result(None)
        return answer

    def drop(self) -> None:
        receiver = self.receiver
        self.close(1001, "no answer to a ping")
        if receiver is not None:
            receiver.on_detached()

    @property
    def events(self) -> list[Json]:
        return [json.loads(frame) for frame in self.frames]

    @property
    def told(self) -> list[tuple[str, int | None]]:
        """Type and number of every event; an error is named by its code."""
        return [(_name(event), event.get("number")) for event in self.events]

    def last(self) -> Json:
        event: Json = json.loads(self.frames[-1])
        return event


def _name(event: Json) -> str:
    return str(event["payload"]["code"] if event["type"] == "error" else event["type"])


class HandWorker:
    """A worker's handle: keeps what it was sent, says what the test wants, answers barriers with what it holds."""

    build = "b-1"
    exports_state = True
    restarts = 0
    uptime_s = 5.0
    memory_bytes: int | None = 1_000_000
    session_memory_bytes: float | None = 2_000.0

    def __init__(self, cell: HandCell, path: PathName) -> None:
        self.cell = cell
        self.path: PathName = path
        self.sent: list[ToWorker] = []
        self.held: dict[int, Open] = {}
        self.running: dict[int, Run] = {}
        self.runs: list[Run] = []
        self.alive = True
        self.answers_barriers = True
        self.stuck = 0
        """Sessions that it holds on to whatever it is told."""

    def send(self, frame: ToWorker) -> None:
        if not self.alive:
            return
        self.sent.append(frame)
        if isinstance(frame, Open):
            self.held[frame.session] = frame
        elif isinstance(frame, Run):
            self.running[frame.session] = frame
            self.runs.append(frame)
        elif isinstance(frame, Close):
            for key, epoch in frame.sessions:
                if key in self.held and self.held[key].epoch == epoch:
                    del self.held[key]
                    self.running.pop(key, None)

    async def barrier(self, timeout_s: float) -> int:
        if not self.alive:
            raise ConnectionError
        if not self.answers_barriers:
            raise TimeoutError
        return len(self.held) + self.stuck

    @property
    def run(self) -> Run:
        """The last message it was told to do."""
        return self.runs[-1]

    @property
    def cancels(self) -> list[Cancel]:
        return [frame for frame in self.sent if isinstance(frame, Cancel)]

    @property
    def opens(self) -> list[Open]:
        return [frame for frame in self.sent if isinstance(frame, Open)]

    def say(self, *frames: Traffic) -> None:
        self.cell.path_frames(self.path, list(frames))

    def started(self, run: Run | None = None) -> None:
        run = run or self.run
        self.say(Started(run.session, run.epoch, run.number))

    def event(self, run: Run | None = None, **payload: object) -> None:
        run = run or self.run
        self.say(RunEvent(run.session, run.epoch, run.number, body("agent_thinking", run, payload)))

    def done(self, run: Run | None = None, terminal: str = "agent_completed", **rest: Any) -> None:
        run = run or self.run
        if self.running.get(run.session) is run:
            del self.running[run.session]
        payload = rest.pop("payload", {"code": "internal"} if terminal == "error" else {})
        text = body(terminal, run, payload)
        self.say(Done(run.session, run.epoch, run.number, terminal, text, 0.1, **rest))

    def work(self, run: Run | None = None, **rest: Any) -> None:
        """Started, one event, done."""
        run = run or self.run
        self.started(run)
        self.event(run)
        self.done(run, **rest)

    def die(self, reason: DownReason = "killed") -> None:
        self.alive = False
        self.running.clear()
        self.held.clear()
        self.cell.path_down(self.path, self, Death(reason, "told by the test"))


def body(type: str, run: Run, payload: object) -> bytes:
    return render(type, payload, "u", "t", run.message_id, run.number)


@dataclass(frozen=True, slots=True)
class Finished:
    """What the cell was told of one message."""

    key: int
    number: int
    message_id: str
    path: PathName
    outcome: MessageOutcome
    heard: bool
    """Whether a socket was there to be told."""


class HandCell(Cell):
    """The real cell with clocks, timers and workers of the test."""

    session_class: type[Session] = Session
    """A checker is itself checked with sessions that have a defect."""

    def __init__(
        self,
        settings: Settings = ROOMY,
        percentage: int = 0,
        bucket_of: Callable[[str], int] = lambda user_id: 50,
        up: tuple[PathName, ...] = ("v2", "v3"),
        storage: SavedSessions | None = None,
        lookout: Lookout | None = None,
    ) -> None:
        self.time = HandTime()
        self.storage = storage or Storage()
        self.resumes = ResumeIndex(self.storage, settings.resume_s, self.time.wall, most=settings.max_sessions)
        self.told = Observer(self.resumes)
        self.done_with: list[Finished] = []
        super().__init__(
            "cell",
            settings,
            Counters(),
            lambda user, thread: thread.startswith("t"),
            lambda group, user: bucket_of(user),
            observer=self.told,
            lookout=lookout,
            clock=self.time.monotonic,
            wall_clock=self.time.wall,
        )
        for path in up:
            self.bring_up(path)
        self.apply(View(flag=flag(percentage)))

    def open(
        self,
        identity: Identity,
        socket: Socket,
        connection_id: str,
        transport: Literal["websocket", "http"] = "websocket",
        *,
        resume_token: str = "",
        saved: SavedSession | None = None,
    ) -> Session:
        session = super().open(identity, socket, connection_id, transport, resume_token=resume_token, saved=saved)
        session.__class__ = self.session_class
        return session

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self.time.later(seconds, call)

    def finished(self, session: Session, message: AcceptedMessage, outcome: MessageOutcome, done: Done | None) -> None:
        super().finished(session, message, outcome, done)
        heard = session.socket is not None
        self.done_with.append(Finished(session.key, message.number, message.message_id, message.path, outcome, heard))

    @property
    def now(self) -> float:
        return self.time.now

    def pending(self) -> list[float]:
        return self.time.pending()

    def advance(self, seconds: float) -> None:
        self.time.advance(seconds)

    def bring_up(self, path: PathName) -> HandWorker:
        worker = HandWorker(self, path)
        self.path_up(path, worker)
        return worker

    def worker(self, path: PathName) -> HandWorker:
        worker = self.workers[path]
        assert isinstance(worker, HandWorker)
        return worker

    @property
    def v2(self) -> HandWorker:
        return self.worker("v2")

    @property
    def v3(self) -> HandWorker:
        return self.worker("v3")

    def connect(
        self,
        user_id: str = "u",
        transport: Literal["websocket", "http"] = "websocket",
        expires_at: float | None = None,
    ) -> tuple[Session, Client]:
        client = Client()
        session = self.open(Identity(user_id, "t", expires_at), client, f"c-{user_id}", transport)
        client.attach(session)
        return session, client

    def count(self, path: PathName, outcome: str, transport: str = "websocket") -> int:
        """What was counted."""
        return self.counters.slots[MESSAGES[path, transport, outcome]]


@dataclass
class FixedOccupancy:
    """How full a cell is, as a test says."""

    size: int = 0
    of_user: int = 0

    def sockets_of(self, user_id: str) -> list[ClientSocket]:
        return [Client() for _ in range(self.of_user)]

    def __len__(self) -> int:
        return self.size


def opener_of(cell: HandCell, occupancy: Occupancy | None = None) -> SessionOpener:
    assert isinstance(cell.storage, Storage)
    return SessionOpener(cell, admission_of(cell, occupancy), cell.resumes, cell.storage)


def admission_of(cell: HandCell, occupancy: Occupancy | None = None) -> Admission:
    if occupancy is None:
        occupancy = FixedOccupancy()
    return Admission(cell.settings, occupancy, lambda user: f"t-{user}", cell.owns_thread)


def with_settings(**changes: object) -> Settings:
    return msgspec.structs.replace(ROOMY, **changes)


def numbers(events: list[Json]) -> Iterator[int]:
    return (event["seq"] for event in events)
