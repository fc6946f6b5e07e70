"""One client, one session at a time and workers that may do anything a worker can; and what must hold after each step.

What is checked comes from the socket, the counters and the workers' links; never from the session itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from app.gateway.identity import Identity
from app.gateway.session import CANCEL_GRACE_S, Session, SessionState
from app.link.frames import Cancel, Open, Run, ToWorker
from app.loadtest.history import TERMINAL
from rollout.assign import View
from rollout.names import PathName
from tests.gateway.harness import Client, HandCell, HandWorker, flag, frame, opener_of, with_settings

SETTINGS = with_settings(queue_messages=3, resume_s=1e9, drain_s=2.0, hold_s=10.0, stop_s=2.0)
IDENTITY = Identity("u", "t")


class Broken(AssertionError):
    """A promise of the delivery contract was not kept."""


def expect(holds: bool, promise: str) -> None:
    if not holds:
        raise Broken(promise)


@dataclass
class Seen:
    """What was seen of one accepted message."""

    message_id: str
    started: bool = False
    events: int = 0
    repeatable: bool = False
    finished: int = 0
    heard: bool = False
    terminals: int = 0


class Simulated(HandWorker):
    """A worker that knows whether what it says is late: it was told to close that epoch, or is dead."""

    def __init__(self, world: World, path: PathName) -> None:
        super().__init__(world.cell, path)
        self.world = world
        self.version = 0

    def send(self, frame: ToWorker) -> None:
        if self.alive:
            self.world.on_sent(self, frame)
        super().send(frame)

    def late(self, run: Run) -> bool:
        held = self.held.get(run.session)
        return held is None or held.epoch != run.epoch or self.running.get(run.session) is not run


@dataclass
class World:
    """The model; each public method is a step."""

    session_class: type[Session] = Session
    messages: dict[int, Seen] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    """Last known of each id: `open`, `interrupted`, or its terminal event."""
    committed: int = 0
    """Version of the last document that the session took."""
    may_travel: set[int] = field(default_factory=lambda: {0})

    def __post_init__(self) -> None:
        self.cell = HandCell(SETTINGS, up=())
        self.cell.session_class = self.session_class
        self.opener = opener_of(self.cell)
        self.workers: list[Simulated] = []
        self.old: list[Simulated] = []
        self.locked_at: float | None = None
        self.read = 0
        self.finished_read = 0
        self.token: str | None = None
        for path in ("v2", "v3"):
            self.bring_up(path)
        self.open_session()

    # -- the client ---------------------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        return self.client.receiver is not None

    def send(self, text: str) -> None:
        if self.client.receiver is not None:
            self.client.receiver.receive(text)

    def say(self, message_id: str) -> None:
        before = self.ids.get(message_id)
        at = len(self.client.frames)
        self.send(frame("chat", message_id))
        if not self.attached:
            return
        answer = json.loads(self.client.frames[at])
        if answer["type"] == "ack":
            expect(before in (None, "interrupted"), f"{message_id} was {before} and was accepted again")
        elif answer["payload"]["code"] == "duplicate":
            expect(before not in (None, "interrupted"), f"{message_id} was {before} and its retry was refused")
            expect(answer["payload"]["outcome"] in (before, None), "a duplicate is told the first outcome")

    def stop(self, message_id: str | None) -> None:
        self.send(frame("stop_agent", payload={} if message_id is None else {"message_id": message_id}))

    def leave(self) -> None:
        receiver, self.client.receiver = self.client.receiver, None
        if receiver is not None:
            receiver.on_detached()

    def come_back(self) -> None:
        """On a new socket; the old one may still look open."""
        self.check()
        self.open_session()

    def open_session(self) -> None:
        self.client, self.read = Client(), 0
        self.session = self.opener.open_or_resume(IDENTITY, self.client, self.token, None)
        self.token = self.session.resume_token
        ready = json.loads(self.client.frames[0])
        expect(ready["type"] == "connection_ready", "connection_ready is first")
        expect(ready["payload"]["recovered"] or not self.messages, "the session was found again")
        told = dict(ready["payload"]["outcomes"])
        for message_id, state in self.ids.items():
            if state == "open":
                self.ids[message_id] = told.get(message_id, "open")

    # -- the workers --------------------------------------------------------------------------------------------------

    def outstanding(self) -> tuple[Simulated, Run] | None:
        for worker in self.workers:
            run = worker.running.get(self.session.key)
            if run is not None:
                return worker, run
        return None

    def started(self) -> None:
        if (now := self.outstanding()) and not self.messages[now[1].number].started:
            self.messages[now[1].number].started = True
            self.messages[now[1].number].repeatable = False
            now[0].started(now[1])

    def event(self) -> None:
        if (now := self.outstanding()) and self.messages[now[1].number].started:
            self.messages[now[1].number].events += 1
            now[0].event(now[1])

    def done(self, terminal: str, document: bool) -> None:
        if (now := self.outstanding()) and self.messages[now[1].number].started:
            self._finish(*now, terminal, document)

    def answer_cancel(self, rerun_safe: bool) -> None:
        """`agent_stopped`, as a worker answers `Cancel`."""
        now = self.outstanding()
        if now is None:
            return
        worker, run = now
        if Cancel(run.session, run.epoch, run.number) not in worker.sent:
            return
        seen = self.messages[run.number]
        seen.repeatable = not seen.started or (rerun_safe and seen.events == 0)
        self._finish(worker, run, "agent_stopped", seen.started, started=seen.started, rerun_safe=rerun_safe)

    def _finish(self, worker: Simulated, run: Run, terminal: str, document: bool, **rest: Any) -> None:
        before, over = self.committed, len(self.cell.done_with)
        if document:
            worker.version += 1
            self.committed = worker.version
        self.may_travel = {before, self.committed}
        worker.done(run, terminal, document=str(worker.version).encode() if document else None, **rest)
        if len(self.cell.done_with) == over:
            self.committed = before  # it runs again, from the document before it
        self.may_travel = {self.committed}

    def late(self, index: int, what: str) -> None:
        """Something of a message that its worker was told to forget, or that it has said before."""
        runs = [(worker, run) for worker in self.workers + self.old for run in worker.runs if worker.late(run)]
        closed = [
            (worker, run)
            for worker, run in runs
            if run.session not in worker.held or worker.held[run.session].epoch != run.epoch
        ]
        if closed:
            worker, run = closed[index % len(closed)]
            if what == "started":
                worker.started(run)
            elif what == "event":
                worker.event(run, late=True)
            else:
                worker.done(run, payload={"late": True}, document=b"-1")

    def bring_up(self, path: PathName) -> None:
        """A first, a restarted, or a second worker beside the one that serves."""
        worker = Simulated(self, path)
        self.workers.append(worker)
        self.cell.path_up(path, worker)

    def kill(self, path: PathName, oldest: bool) -> None:
        alive = [worker for worker in self.workers if worker.path == path]
        if alive:
            worker = alive[0 if oldest else -1]
            self.workers.remove(worker)
            self.old.append(worker)
            worker.die()

    def on_sent(self, worker: Simulated, frame: ToWorker) -> None:
        if isinstance(frame, Open):
            version = int(frame.document or b"0")
            expect(version in self.may_travel, f"opened with document {version}, not {self.may_travel}")
            worker.version = version
        elif isinstance(frame, Run):
            seen = self.messages.get(frame.number)
            if seen is None:
                self.check()  # its ack is on the socket already
                seen = self.messages[frame.number]
            expect(not seen.started or seen.repeatable, f"{frame.number} was started and runs again")
            seen.started = False
            seen.events = 0
            busy = [one for one in self.workers if frame.session in one.running]
            expect(not busy, f"{frame.number} runs beside another")
            earlier = [number for number in self.messages if number < frame.number and not self._over(number)]
            expect(not earlier, f"{frame.number} runs before {earlier}")

    def _over(self, number: int) -> bool:
        return any(done.number == number for done in self.cell.done_with)

    # -- the control loop ---------------------------------------------------------------------------------------------

    def decide(self, percentage: int) -> None:
        self.locked_at = None
        self.cell.apply(View(flag=flag(percentage)))

    def roll_back(self) -> None:
        if self.locked_at is None:
            self.locked_at = self.cell.now
        self.cell.apply(View(flag=flag(100), locked=True), rollback=True)

    def wait(self, seconds: float) -> None:
        self.cell.advance(seconds)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """After every step."""
        self._read_finished()
        for index in range(self.read, len(self.client.frames)):
            self._read_event(index, json.loads(self.client.frames[index]))
        self.read = len(self.client.frames)
        on = self.cell.index.on
        if self.session.key in self.cell.index.by_key:
            expect(self.session in on[self.session.path], "a session is indexed on its path")
        expect(len(on["v2"]) + len(on["v3"]) == len(self.cell.index), "the index holds each session once")
        for path in ("v2", "v3"):
            users = {session.user_id for session in on[path]}
            expect(self.cell.users_on(path) == users, "the users of a path are those of its sessions")
            expect(self.cell.path_state(path).users == len(users), "each user is counted once")
        expect(len(set(self.cell.told.ended_keys)) == len(self.cell.told.ended_keys), "a session ends once")
        if self.locked_at is not None and self.cell.now > self.locked_at + SETTINGS.drain_s + CANCEL_GRACE_S:
            expect(not on["v3"], "a rollback leaves nobody on v3 after its deadline")
            held = [worker for worker in self.workers if worker.path == "v3" and worker.held]
            expect(not held, "a rollback leaves nothing open in v3's worker")

    def _read_finished(self) -> None:
        for done in self.cell.done_with[self.finished_read :]:
            seen = self.messages.setdefault(done.number, Seen(done.message_id))
            seen.finished += 1
            seen.heard = done.heard
            expect(seen.finished == 1, f"{done.number} ended twice")
        self.finished_read = len(self.cell.done_with)

    def _read_event(self, index: int, event: dict[str, Any]) -> None:
        expect(event["seq"] == index + 1, f"seq {event['seq']} follows {index}")
        expect("late" not in event["payload"], "an event of a fenced epoch reached the socket")
        number = event.get("number")
        if number is None:
            return
        if event["type"] == "ack":
            seen = self.messages.setdefault(number, Seen(event["message_id"]))
            expect(seen.message_id == event["message_id"], "one number, one id")
            expect(sorted(self.messages) == list(range(1, len(self.messages) + 1)), "numbers have no gap")
            self.ids[event["message_id"]] = "open"
            return
        seen = self.messages[number]
        expect(seen.terminals == 0, f"{number}: {event['type']} after its terminal event")
        if event["type"] in TERMINAL:
            seen.terminals += 1
            interrupted = event["payload"].get("code") == "interrupted"
            self.ids[seen.message_id] = "interrupted" if interrupted else event["type"]

    def settle(self) -> None:
        """Both paths up, everything answered, time enough: now each accepted message has ended exactly once."""
        for path in ("v2", "v3"):
            if self.cell.workers[path] is None:
                self.bring_up(path)
        for _ in range(40):
            self.started()
            self.done("agent_completed", document=True)
            self.check()
        expect(self.outstanding() is None, "nothing runs any more")
        self.wait(60)
        self.check()
        for number, seen in self.messages.items():
            expect(seen.finished == 1, f"{number} was accepted and ended {seen.finished} times")
            expect(seen.terminals == int(seen.heard), f"{number} had {seen.terminals} terminal events")
        expect(
            self.session.state in (SessionState.ACTIVE, SessionState.ENDED), f"a quiet session is {self.session.state}"
        )
