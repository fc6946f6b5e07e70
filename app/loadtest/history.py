"""One client's history of sends, acks and events, and what in it breaks the delivery contract.

Pure: frames and times (seconds) come in, violations come out; it must not know sockets, clocks or the service.
The rules checked are those of a client of `/ws`: every accepted message has one `ack` and exactly one terminal event
with its number, in order, and runs once; `seq` has no gaps; nothing of another user; no close but those of the
protocol. A resumed connection goes on in the same session: what was accepted unseen is found out from what follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

TERMINAL = frozenset({"agent_completed", "agent_stopped", "thread_history", "thread_switched", "error"})
TOLD = 256
EXPECTED_CLOSES = frozenset({1001, 1008, 1009, 1012, 1013})

Rule: TypeAlias = Literal[
    "unreadable",
    "connection_ready first",
    "seq gap-free",
    "own user only",
    "one answer per message",
    "numbers in order",
    "number belongs to its message",
    "exactly one terminal event",
    "nothing after the terminal event",
    "one at a time, in order",
    "run once",
    "a retry runs",
    "the document never goes back",
    "close code",
]


class Violation(Struct, frozen=True):
    """One broken rule of one client, with what was seen."""

    rule: Rule
    user_id: str
    detail: str


class Finished(Struct, frozen=True):
    """What became of a message: `type` is the terminal event's; `code` is set for `error`."""

    message_id: str
    type: str
    code: str | None
    latency_s: float
    number: int | None = None
    """None: it was refused."""


class Frame(Struct, frozen=True):
    """The parts of a server's event that the rules speak of; unknown fields and types are ignored, as by any client."""

    type: str
    seq: int
    payload: Raw = Raw(b"{}")
    message_id: str | None = None
    number: int | None = None
    user_id: str | None = None


class ErrorPayload(Struct, frozen=True):
    code: str = ""


class ReadyPayload(Struct, frozen=True):
    resume_token: str = ""
    recovered: bool | str = False
    outcomes: list[tuple[str, str]] = []


class _OpenMessage(Struct):
    """An accepted message without a terminal event yet."""

    message_id: str
    sent_at: float
    began: bool = False


_frames = msgspec.json.Decoder(Frame)
_errors = msgspec.json.Decoder(ErrorPayload)
_ready = msgspec.json.Decoder(ReadyPayload)


class ClientHistory:
    """What one client did and saw, over one or several connections. Calls must come in the order of the wire."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.violations: list[Violation] = []
        self.refusals: dict[str, int] = {}
        """Messages that were not accepted, by error code."""
        self.drops: dict[int, int] = {}
        """Closes that this client did not ask for, by close code."""
        self.resume_token = ""
        self.accepted = 0
        self.finished = 0
        self.unknown = 0
        """Messages in flight when a socket died: nobody can say whether they were read."""
        self._unanswered: dict[str, list[float]] = {}
        self._uncertain: dict[str, int] = {}
        """How often an id was sent without an answer on sockets that died."""
        self._unseen = 0
        """So many messages may have been accepted that way and have no number yet."""
        self._skipped: set[int] = set()
        """Numbers that such messages must have got."""
        self._told: dict[str, str] = {}
        """How the last messages ended on the wire, in the words of `outcomes`."""
        self._open: dict[int, _OpenMessage] = {}
        self._controls: set[str] = set()
        self._seq = 0
        self._last_number = 0

    @property
    def outstanding(self) -> int:
        """Messages without a refusal or a terminal event so far."""
        return len(self._open) + sum(map(len, self._unanswered.values()))

    def accepted_and_open(self) -> list[str]:
        """Ids of messages with an ack and no terminal event so far, in order."""
        return [message.message_id for message in self._open.values()]

    def unanswered(self) -> list[str]:
        """Ids that were sent on sockets that died, and of which nothing was heard since."""
        return list(self._uncertain)

    def sent(self, message_id: str, at: float) -> None:
        """The client wrote a message; an id sent again is answered again."""
        self._unanswered.setdefault(message_id, []).append(at)

    def sent_control(self, message_id: str) -> None:
        """The client wrote a `ping` or a `stop_agent`: no ack; at most a refusal with this id."""
        self._controls.add(message_id)

    def received(self, data: bytes | str, at: float) -> Finished | None:
        """A frame came; returns what it finished: an accepted message, or a refused one."""
        try:
            frame = _frames.decode(data)
        except (msgspec.DecodeError, UnicodeError) as error:
            self._wrong("unreadable", f"{data[:120]!r}: {error}")
            return None
        self._check_envelope(frame)
        self.heard(frame)
        if frame.type == "connection_ready":
            self._take_ready(frame)
        elif frame.type == "ack":
            self._take_ack(frame)
        elif frame.number is not None:
            return self._take_event(frame, at)
        elif frame.type == "error":
            return self._take_refusal(frame, at)
        return None

    def closed(self, code: int, *, asked: bool) -> None:
        """The socket is gone. `asked`: this client had closed it."""
        if not asked:
            self.drops[code] = self.drops.get(code, 0) + 1
            if code not in EXPECTED_CLOSES:
                self._wrong("close code", f"closed with {code}, expected one of {sorted(EXPECTED_CLOSES)}")
        for message_id, times in self._unanswered.items():
            self.unknown += len(times)
            self._uncertain[message_id] = self._uncertain.get(message_id, 0) + len(times)
            self._unseen += len(times)
        self._unanswered.clear()
        self._seq = 0

    def heard(self, frame: Frame) -> None:
        """A frame came that can be read; for those who wait for one."""

    def ended(self, message_id: str, terminal: str, payload: Raw) -> None:
        """An accepted message ended with this event; `interrupted` and no payload when only an outcome says so.

        For those who check more than the order of events.
        """

    def begins_anew(self) -> None:
        """What was is gone: the connection is a new session."""

    def end(self) -> list[Violation]:
        """Nothing more will come: what is still open was lost. Returns all violations."""
        for message_id, times in self._unanswered.items():
            self._wrong("one answer per message", f"{message_id}: {len(times)} sent and never acked or refused")
        for number, message in self._open.items():
            self._wrong("exactly one terminal event", f"{message.message_id}: number {number} has none")
        self._unanswered.clear()
        self._open.clear()
        return self.violations

    def _check_envelope(self, frame: Frame) -> None:
        if frame.seq != self._seq + 1:
            self._wrong("seq gap-free", f"{frame.type} has seq {frame.seq} after {self._seq}")
        if self._seq == 0 and frame.type != "connection_ready":
            self._wrong("connection_ready first", f"the first event is {frame.type}")
        self._seq = frame.seq
        if frame.user_id is not None and frame.user_id != self.user_id:
            self._wrong("own user only", f"{frame.type} is of {frame.user_id!r}")

    def _take_ready(self, frame: Frame) -> None:
        """A (new) connection: after a resume, outcomes settle what ended while no socket was there."""
        try:
            ready = _ready.decode(frame.payload)
        except msgspec.DecodeError as error:
            self._wrong("unreadable", f"connection_ready: {error}")
            return
        self.resume_token = ready.resume_token
        if ready.recovered is False:
            self.unknown += len(self._open)
            self._open.clear()
            self._uncertain.clear()
            self._skipped.clear()
            self._told.clear()
            self._unseen = 0
            self._last_number = 0
            self.begins_anew()
            return
        for message_id, terminal in ready.outcomes:
            self._settle(message_id, terminal)

    def _settle(self, message_id: str, terminal: str) -> None:
        """An outcome told after a resume; those of messages that ended before are told again and mean nothing."""
        for number in [each for each, message in self._open.items() if message.message_id == message_id]:
            del self._open[number]
            self.finished += 1
            self._tell(message_id, terminal)
            self.ended(message_id, terminal, Raw(b"{}"))
            return
        if message_id in self._uncertain and self._told.get(message_id) != terminal:
            self._take_uncertain(message_id)
            self.finished += 1
            self._tell(message_id, terminal)
            self.ended(message_id, terminal, Raw(b"{}"))

    def _tell(self, message_id: str, terminal: str) -> None:
        self._told.pop(message_id, None)
        self._told[message_id] = terminal
        if len(self._told) > TOLD:
            del self._told[next(iter(self._told))]

    def _take_uncertain(self, message_id: str) -> None:
        self._uncertain[message_id] -= 1
        if not self._uncertain[message_id]:
            del self._uncertain[message_id]
        self.accepted += 1
        self.unknown -= 1

    def _take_ack(self, frame: Frame) -> None:
        number, message_id = frame.number, frame.message_id or ""
        if number is None:
            self._wrong("numbers in order", f"the ack of {message_id} has no number")
            return
        self._check_number(number, message_id)
        times = self._unanswered.get(message_id)
        if times is None:
            self._wrong("one answer per message", f"ack number {number} for {message_id}, which waits for none")
            return
        self._open[number] = _OpenMessage(message_id, self._answered(message_id, times))
        self.accepted += 1

    def _take_event(self, frame: Frame, at: float) -> Finished | None:
        number = frame.number or 0
        message = self._open.get(number) or self._accepted_unseen(frame, number, at)
        if message is None:
            self._not_open(frame, number)
            return None
        if frame.message_id != message.message_id:
            self._wrong("number belongs to its message", f"{number}: {frame.message_id}, not {message.message_id}")
        first = min(self._open)
        if number != first and (frame.type != "agent_stopped" or message.began):
            # A queued message that was stopped ends before its turn; everything else waits for it.
            self._wrong("one at a time, in order", f"{frame.type} of number {number} while {first} is open")
        if frame.type not in TERMINAL:
            if frame.type == "agent_started" and message.began:
                self._wrong("run once", f"{message.message_id}, number {number}, started again")
            message.began = True
            return None
        del self._open[number]
        self.finished += 1
        code = self._code(frame) if frame.type == "error" else None
        self._tell(message.message_id, "interrupted" if code == "interrupted" else frame.type)
        self.ended(message.message_id, frame.type, frame.payload)
        return Finished(message.message_id, frame.type, code, at - message.sent_at, number)

    def _check_number(self, number: int, message_id: str) -> None:
        """The next number; after a resume, messages that were accepted unseen may lie between."""
        before = self._last_number
        skipped = number - before - 1
        if not 0 <= skipped <= self._unseen:
            self._wrong("numbers in order", f"{message_id} is number {number} after {before}")
        elif skipped:
            self._skipped.update(range(before + 1, number))
            self._unseen -= skipped
        self._last_number = number

    def _accepted_unseen(self, frame: Frame, number: int, at: float) -> _OpenMessage | None:
        """A message that was accepted on a socket which died before its ack came."""
        message_id = frame.message_id or ""
        if message_id not in self._uncertain:
            return None
        if number in self._skipped:
            self._skipped.discard(number)
        elif self._unseen and number > self._last_number:
            self._unseen -= 1
            self._check_number(number, message_id)
        else:
            return None
        self._take_uncertain(message_id)
        message = self._open[number] = _OpenMessage(message_id, at)
        return message

    def _not_open(self, frame: Frame, number: int) -> None:
        rule: Rule = "one answer per message"
        if number <= self._last_number:
            late = frame.type not in TERMINAL
            rule = "nothing after the terminal event" if late else "exactly one terminal event"
        self._wrong(rule, f"{frame.type} of {frame.message_id}, number {number}, which is not open")

    def _take_refusal(self, frame: Frame, at: float) -> Finished | None:
        code = self._code(frame)
        self.refusals[code] = self.refusals.get(code, 0) + 1
        times = self._unanswered.get(frame.message_id or "")
        if times is None:
            if frame.message_id is not None and frame.message_id not in self._controls:
                self._wrong("one answer per message", f"refusal {code} of {frame.message_id}, which waits for none")
            return None
        message_id = frame.message_id or ""
        if code == "duplicate" and self._told.get(message_id) == "interrupted":
            running = [message for message in self._open.values() if message.message_id == message_id]
            if not running and message_id not in self._uncertain:
                self._wrong("a retry runs", f"{message_id} was interrupted, and sent again it is a duplicate")
        return Finished(message_id, "error", code, at - self._answered(message_id, times))

    def _answered(self, message_id: str, times: list[float]) -> float:
        """Take the oldest unanswered sending of this id off the list; its time."""
        sent_at = times.pop(0)
        if not times:
            del self._unanswered[message_id]
        return sent_at

    def _code(self, frame: Frame) -> str:
        try:
            return _errors.decode(frame.payload).code
        except msgspec.DecodeError:
            return ""

    def _wrong(self, rule: Rule, detail: str) -> None:
        self.violations.append(Violation(rule, self.user_id, detail))


def by_rule(violations: Iterable[Violation]) -> dict[str, int]:
    """How often each rule was broken."""
    counts: dict[str, int] = {}
    for violation in violations:
        counts[violation.rule] = counts.get(violation.rule, 0) + 1
    return counts
