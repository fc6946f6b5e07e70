"""One client's history of sends, acks and events, and the places where it breaks the delivery contract.

Without I/O: frames and times (seconds) go in, violations come out. The rules are those of a client of `/ws`: every
accepted message has one `ack` and exactly one terminal event with its number, in order, and runs once; `seq` has no
gaps; no event belongs to another user; the socket is closed only with the codes of the protocol. A resumed connection
continues the session: messages that were accepted without the client seeing it are inferred from what follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

TERMINAL = frozenset({"agent_completed", "agent_stopped", "thread_history", "thread_switched", "error"})
OUTCOMES_KEPT = 256
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
    """A rule that one client saw broken, and how."""

    rule: Rule
    user_id: str
    detail: str


class Finished(Struct, frozen=True):
    """The end of a message: `type` is that of its last event, and `code` is set for `error`."""

    message_id: str
    type: str
    code: str | None
    latency_s: float
    number: int | None = None
    """None: the message was refused."""


class Frame(Struct, frozen=True):
    """The parts of an event that the rules use; unknown fields and types are ignored, as by any client."""

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
    """The history of one client over one or more connections. Calls must be in the order of the wire."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.violations: list[Violation] = []
        self.refusals: dict[str, int] = {}
        """Number of messages that were not accepted, by error code."""
        self.drops: dict[int, int] = {}
        """Number of closes that this client did not ask for, by close code."""
        self.resume_token = ""
        self.accepted = 0
        self.finished = 0
        self.unknown = 0
        """Messages in flight when a socket died, so that it is unknown whether they were accepted."""
        self._unanswered: dict[str, list[float]] = {}
        self._uncertain: dict[str, int] = {}
        """How often an id was sent, without an answer, on sockets that died."""
        self._unseen = 0
        """Most messages that may have been accepted that way without a number that was seen."""
        self._skipped: set[int] = set()
        """Numbers that such messages must have got."""
        self._outcomes: dict[str, str] = {}
        """How the last messages ended, in the terms of `outcomes`."""
        self._open: dict[int, _OpenMessage] = {}
        self._controls: set[str] = set()
        self._seq = 0
        self._last_number = 0

    @property
    def outstanding(self) -> int:
        """Number of messages that have neither a refusal nor a terminal event yet."""
        return len(self._open) + sum(map(len, self._unanswered.values()))

    def accepted_and_open(self) -> list[str]:
        """Ids of messages that have an ack and no terminal event yet, in order."""
        return [message.message_id for message in self._open.values()]

    def unanswered(self) -> list[str]:
        """Ids that were sent on sockets that died and have had no answer since."""
        return list(self._uncertain)

    def sent(self, message_id: str, at: float) -> None:
        """The client sent a message; an id that is sent twice must be answered twice."""
        self._unanswered.setdefault(message_id, []).append(at)

    def sent_control(self, message_id: str) -> None:
        """The client sent a `ping` or `stop_agent`, which gets no ack, but perhaps a refusal with this id."""
        self._controls.add(message_id)

    def received(self, data: bytes | str, at: float) -> Finished | None:
        """A frame arrived; returns the message that it ended, accepted or refused."""
        try:
            frame = _frames.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self._wrong("unreadable", f"{data[:120]!r}: {error}")
            return None
        self._check_envelope(frame)
        self.on_frame(frame)
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
        """The socket was closed. `asked`: this client had closed it."""
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

    def on_frame(self, frame: Frame) -> None:
        """Hook for subclasses: a readable frame arrived."""

    def on_ended(self, message_id: str, terminal: str, payload: Raw) -> None:
        """Hook for subclasses: an accepted message ended with this event.

        After a resume `terminal` may come from the outcomes; then it can be `interrupted`, and the payload is empty.
        """

    def on_new_session(self) -> None:
        """Hook for subclasses: the connection was not resumed and is a new session."""

    def end(self) -> list[Violation]:
        """Nothing more will arrive: what is still open was lost. Returns all violations."""
        for message_id, times in self._unanswered.items():
            self._wrong("one answer per message", f"{message_id}: sent {len(times)} times without an ack or a refusal")
        for number, message in self._open.items():
            self._wrong("exactly one terminal event", f"{message.message_id}: number {number} has no terminal event")
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
            self._wrong("own user only", f"{frame.type} belongs to {frame.user_id!r}")

    def _take_ready(self, frame: Frame) -> None:
        """A connection is ready; after a resume, its outcomes say which messages ended while there was no socket."""
        try:
            ready = _ready.decode(frame.payload)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self._wrong("unreadable", f"connection_ready: {error}")
            return
        self.resume_token = ready.resume_token
        if ready.recovered is False:
            self.unknown += len(self._open)
            self._open.clear()
            self._uncertain.clear()
            self._skipped.clear()
            self._outcomes.clear()
            self._unseen = 0
            self._last_number = 0
            self.on_new_session()
            return
        for message_id, terminal in ready.outcomes:
            self._settle(message_id, terminal)

    def _settle(self, message_id: str, terminal: str) -> None:
        """Apply an outcome sent after a resume; outcomes of messages that ended before are repeated and ignored."""
        for number in [each for each, message in self._open.items() if message.message_id == message_id]:
            del self._open[number]
            self.finished += 1
            self._remember(message_id, terminal)
            self.on_ended(message_id, terminal, Raw(b"{}"))
            return
        if message_id in self._uncertain and self._outcomes.get(message_id) != terminal:
            self._take_uncertain(message_id)
            self.finished += 1
            self._remember(message_id, terminal)
            self.on_ended(message_id, terminal, Raw(b"{}"))

    def _remember(self, message_id: str, terminal: str) -> None:
        self._outcomes.pop(message_id, None)
        self._outcomes[message_id] = terminal
        if len(self._outcomes) > OUTCOMES_KEPT:
            del self._outcomes[next(iter(self._outcomes))]

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
            self._wrong(
                "one answer per message", f"ack number {number} for {message_id}, which is not waiting for an ack"
            )
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
            self._wrong(
                "number belongs to its message",
                f"number {number} came with {frame.message_id} instead of {message.message_id}",
            )
        first = min(self._open)
        if number != first and (frame.type != "agent_stopped" or message.began):
            # Only a queued message that was stopped ends before its turn.
            self._wrong("one at a time, in order", f"{frame.type} of number {number} while {first} is open")
        if frame.type not in TERMINAL:
            if frame.type == "agent_started" and message.began:
                self._wrong("run once", f"{message.message_id}, number {number}, started again")
            message.began = True
            return None
        del self._open[number]
        self.finished += 1
        code = self._code(frame) if frame.type == "error" else None
        self._remember(message.message_id, "interrupted" if code == "interrupted" else frame.type)
        self.on_ended(message.message_id, frame.type, frame.payload)
        return Finished(message.message_id, frame.type, code, at - message.sent_at, number)

    def _check_number(self, number: int, message_id: str) -> None:
        """Check that this is the next number; after a resume, messages accepted unseen may lie between."""
        before = self._last_number
        skipped = number - before - 1
        if not 0 <= skipped <= self._unseen:
            self._wrong("numbers in order", f"{message_id} is number {number} after {before}")
        elif skipped:
            self._skipped.update(range(before + 1, number))
            self._unseen -= skipped
        self._last_number = number

    def _accepted_unseen(self, frame: Frame, number: int, at: float) -> _OpenMessage | None:
        """The message of an event, if it was accepted on a socket that died before the ack arrived."""
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
                self._wrong(
                    "one answer per message",
                    f"refusal {code} of {frame.message_id}, which is not waiting for an answer",
                )
            return None
        message_id = frame.message_id or ""
        if code == "duplicate" and self._outcomes.get(message_id) == "interrupted":
            running = [message for message in self._open.values() if message.message_id == message_id]
            if not running and message_id not in self._uncertain:
                self._wrong("a retry runs", f"{message_id} was interrupted, and its retry was refused as a duplicate")
        return Finished(message_id, "error", code, at - self._answered(message_id, times))

    def _answered(self, message_id: str, times: list[float]) -> float:
        """Take the oldest unanswered send of this id off the list; returns its time."""
        sent_at = times.pop(0)
        if not times:
            del self._unanswered[message_id]
        return sent_at

    def _code(self, frame: Frame) -> str:
        try:
            return _errors.decode(frame.payload).code
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return ""

    def _wrong(self, rule: Rule, detail: str) -> None:
        self.violations.append(Violation(rule, self.user_id, detail))


def by_rule(violations: Iterable[Violation]) -> dict[str, int]:
    """How often each rule was broken."""
    counts: dict[str, int] = {}
    for violation in violations:
        counts[violation.rule] = counts.get(violation.rule, 0) + 1
    return counts
