"""One client of a chaos run: a user with a socket, who can wait for events and reconnects with a resume token.

It uses the public protocol only.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from app.loadtest.history import Finished, Frame
from ops.chaos.documents import Answer, DocumentedHistory
from ops.chaos.wire import Wire, connect

WITHIN_S = 20.0
TRACE = 200


class Where(msgspec.Struct, frozen=True):
    """What a supervisor of `factories` sends first."""

    path: str = ""


_where = msgspec.json.Decoder(Where)


class Diary(DocumentedHistory):
    """A history that also remembers the events of each message, so that one can wait for them."""

    def __init__(self, user_id: str) -> None:
        super().__init__(user_id)
        self.events: dict[str, list[str]] = {}
        """Event types by message id, without refusals; errors as `error:CODE`."""
        self.paths: dict[str, str] = {}
        """The path on which a message completed, if its supervisor says so."""
        self.started_on: dict[str, str] = {}
        """The path on which a message was started last."""
        self.last_path = ""
        """The path on which the last message was started."""
        self.errors: Counter[str] = Counter()
        """Number of accepted messages that ended with `error`, by code."""
        self.trace: deque[str] = deque(maxlen=TRACE)
        """The last frames in both directions, one line each, for a person who looks for a cause."""
        self.on_heard: Callable[[], None] = lambda: None
        self.on_answer: Callable[[str], None] = lambda path: None
        self.on_start: Callable[[str], None] = lambda path: None

    def on_frame(self, frame: Frame) -> None:
        payload = bytes(frame.payload).decode()
        self.remember(f"< {frame.seq} {frame.type} {frame.message_id} number={frame.number} {payload[:300]}")
        if frame.message_id is not None and frame.number is not None:
            kind = f"error:{self._code(frame)}" if frame.type == "error" else frame.type
            self.events.setdefault(frame.message_id, []).append(kind)
            if frame.type == "agent_started":
                self.last_path = self.started_on[frame.message_id] = _where.decode(frame.payload).path
                self.on_start(self.last_path)
            elif frame.type == "error":
                self.errors[self._code(frame)] += 1
        self.on_heard()

    def remember(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{time.monotonic():.3f} {line}")

    def closed(self, code: int, *, asked: bool) -> None:
        self.remember(f"closed {code}{' by us' * asked}")
        super().closed(code, asked=asked)

    def answered(self, message_id: str, answer: Answer) -> None:
        self.paths[message_id] = answer.path
        self.on_answer(answer.path)


class ChaosClient:
    """One client; `url` is that of `/ws`, without a query."""

    def __init__(self, url: str, user_id: str, source: tuple[str, int] | None = None) -> None:
        self.history = Diary(user_id)
        self.history.on_heard = self._heard
        self.on_finished: Callable[[Finished], None] = lambda done: None
        self.wire: Wire | None = None
        self._url = f"{url}?user={quote(user_id)}"
        self._source = source
        self._changed = asyncio.Event()
        self._ids = itertools.count(1)

    @property
    def user_id(self) -> str:
        return self.history.user_id

    @property
    def is_open(self) -> bool:
        return self.wire is not None and self.wire.is_open

    async def connect(self, *, resume: bool = False) -> None:
        """Open a socket; with `resume`, it continues the last session. Raises `InvalidHandshake`, `OSError`."""
        token = self.history.resume_token
        url = f"{self._url}&resume={token}" if resume and token else self._url
        self.history.resume_token = ""
        self.wire = await connect(url, self.history, self._finished, self._source)
        await self.until(lambda: bool(self.history.resume_token) or not self.is_open)

    def say(self, content: str, message_id: str | None = None) -> str:
        """Send a user message; returns its id."""
        return self.send("user_message", {"content": content}, message_id)

    def send(self, kind: str, payload: dict[str, object], message_id: str | None = None) -> str:
        """Send a message of any kind that is queued; returns its id."""
        message_id = message_id or f"{self.user_id}-{next(self._ids)}"
        if self.wire is not None and self.is_open:
            self.note(message_id, str(payload.get("content", "")))
            self.history.remember(f"> {kind} {message_id} {payload}")
            self.wire.send(self.encode(kind, payload, message_id))
        return message_id

    def note(self, message_id: str, content: str) -> None:
        """Record a message that the caller writes to the wire itself."""
        self.history.says(message_id, content)
        self.history.sent(message_id, time.monotonic())

    def control(self, kind: str, payload: dict[str, object]) -> None:
        """Send a `ping` or a `stop_agent`."""
        message_id = f"{self.user_id}-{next(self._ids)}"
        if self.wire is not None and self.is_open:
            self.history.sent_control(message_id)
            self.history.remember(f"> {kind} {message_id} {payload}")
            self.wire.send(self.encode(kind, payload, message_id))

    @staticmethod
    def encode(kind: str, payload: dict[str, object], message_id: str) -> bytes:
        return msgspec.json.encode({"type": kind, "message_id": message_id, "payload": payload})

    async def until(self, true: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Wait until this is true after a frame or the end of the socket. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def events(self, message_id: str, count: int) -> list[str]:
        """The first `count` events of a message, ack included."""
        await self.until(lambda: len(self.history.events.get(message_id, ())) >= count)
        return self.history.events[message_id][:count]

    async def quiet(self, within_s: float = WITHIN_S) -> None:
        """Wait until every message is answered, or the socket is closed."""
        await self.until(lambda: self.history.outstanding == 0 or not self.is_open, within_s)

    async def close(self) -> None:
        if self.wire is not None:
            await self.wire.close()

    async def vanish(self) -> None:
        """Disappear without a close."""
        if self.wire is not None:
            self.wire.abort()
            await self.wire.gone()

    def _finished(self, done: Finished) -> None:
        self.on_finished(done)

    def _heard(self) -> None:
        self._changed.set()
