"""Protocols between a session, its cell, and what surrounds both: sockets, codec, workers, storage, observers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol, TypeVar

from app.gateway.message import AcceptedMessage
from app.gateway.saved_session import SavedSession
from app.link.frames import Done, ToWorker
from app.message_types import ErrorCode, Inbound, Refusal
from app.pool.death import Death
from rollout.names import PathName

SessionT_contra = TypeVar("SessionT_contra", contravariant=True)
"""The type of a session, a parameter, so that this module does not import the session's."""


class BucketRow(NamedTuple):
    """One user of this cell, for previews: the bucket by the hash, and the path that serves them."""

    user_id: str
    bucket: int
    path: PathName
    sessions: int


class Socket(Protocol):
    """A client's connection. `send` never blocks and never raises; after `close` it does nothing."""

    def send(self, frame: bytes) -> None: ...
    def hold(self, frame: bytes) -> None:
        """As `send`, but the frame may wait a moment for the next one, so that both leave in one write."""
        ...

    def hurry(self) -> None:
        """The next frame is due: what is held waits only a little longer."""
        ...

    def close(self, code: int, reason: str) -> None: ...
    def buffered_bytes(self) -> int: ...


class Receiver(Protocol):
    """What a socket hands its messages to; a session is one."""

    def receive(self, frame: str | bytes) -> None: ...
    def refuse_binary(self) -> None: ...
    def on_detached(self) -> None: ...


class ClientSocket(Socket, Protocol):
    """A `Socket` that is still to be bound: its messages go to the receiver from `attach` on."""

    def attach(self, receiver: Receiver) -> bool:
        """False: the client is gone already, and the receiver is not told anything."""
        ...

    def ask(self) -> asyncio.Future[None]:
        """Ask the client for a sign of life; done as soon as it sends anything, or is gone."""
        ...

    def drop(self) -> None:
        """Close it, because the client does not answer; its session is free for a resume at once."""
        ...


class Timer(Protocol):
    def cancel(self) -> None: ...


class Codec(Protocol[SessionT_contra]):
    """Reads what clients send and writes the gateway's own events; `app.gateway.codec` has the built-in one."""

    def read(self, frame: str | bytes) -> Inbound | Refusal: ...
    def new_message_id(self) -> str: ...
    def stamp(self, seq: int, body: bytes) -> bytes: ...
    def ack(self, session: SessionT_contra, message: AcceptedMessage) -> bytes: ...
    def pong(self, session: SessionT_contra, message_id: str | None) -> bytes: ...
    def stopped(self, session: SessionT_contra, message: AcceptedMessage) -> bytes: ...
    def error(
        self,
        session: SessionT_contra,
        code: ErrorCode,
        words: str,
        message: AcceptedMessage | None,
        message_id: str | None,
    ) -> bytes: ...
    def duplicate(self, session: SessionT_contra, message_id: str, outcome: str | None) -> bytes: ...


class RateLimit(Protocol):
    """How fast a user may send; shared by the user's sessions."""

    def take(self, now: float) -> bool:
        """Whether one more is allowed at `now`, in monotonic seconds."""
        ...


MessageOutcome = Literal["ok", "error", "interrupted"]
HandoverOutcome = Literal["moved", "interrupted"]
"""`interrupted`: a running message was cancelled for it."""


class Worker(Protocol):
    """The process a session was opened in. `send` never blocks; after the process is gone it does nothing."""

    def send(self, frame: ToWorker) -> None: ...


class PathWorker(Worker, Protocol):
    """A worker as its cell sees it; `app.pool.handle.WorkerHandle` is one."""

    @property
    def build(self) -> str: ...
    @property
    def exports_state(self) -> bool: ...
    @property
    def restarts(self) -> int:
        """How many workers of its path were started after a death, this one included."""
        ...

    @property
    def uptime_s(self) -> float: ...
    @property
    def memory_bytes(self) -> int | None: ...
    @property
    def session_memory_bytes(self) -> float | None: ...
    async def barrier(self, timeout_s: float) -> int:
        """Sessions it still held after all that was sent before. Raises `TimeoutError`, `ConnectionError`."""
        ...


class SessionContext(Protocol[SessionT_contra]):
    """What a session needs of its cell."""

    locked: bool
    """A rollback is in force: nothing may be dispatched to v3."""

    @property
    def workers(self) -> Mapping[PathName, Worker | None]:
        """Where each path is served now; None: it is down."""
        ...

    @property
    def codec(self) -> Codec[SessionT_contra]: ...
    @property
    def limits(self) -> SessionLimits: ...

    def clock(self) -> float: ...
    def later(self, seconds: float, call: Callable[[], None]) -> Timer: ...
    def owns_thread(self, user_id: str, thread_id: str) -> bool: ...
    def rejected(self, session: SessionT_contra) -> None: ...
    def dispatched(self, session: SessionT_contra) -> None: ...
    def finished(
        self, session: SessionT_contra, message: AcceptedMessage, outcome: MessageOutcome, done: Done | None
    ) -> None: ...
    def committed(self, session: SessionT_contra) -> None: ...
    def rebound(
        self, session: SessionT_contra, source: PathName, outcome: HandoverOutcome, waited_s: float
    ) -> None: ...
    def rerun(self, session: SessionT_contra) -> None: ...
    def closing(self, session: SessionT_contra, code: int) -> None: ...
    def ended(self, session: SessionT_contra) -> None: ...


class SessionLimits(Protocol):
    """The settings that bind one session."""

    @property
    def message_bytes(self) -> int: ...
    @property
    def queue_messages(self) -> int: ...
    @property
    def queue_bytes(self) -> int: ...
    @property
    def send_buffer_bytes(self) -> int: ...
    @property
    def stop_s(self) -> float: ...
    @property
    def hold_s(self) -> float: ...


class CellObserver(Protocol[SessionT_contra]):
    """What a cell tells while it happens. The calls are made in its event loop and must not wait for anything."""

    def session_ended(self, session: SessionT_contra) -> None: ...
    def session_committed(self, session: SessionT_contra) -> None:
        """It has a new state document."""
        ...

    def path_changed(self, path: PathName, death: Death | None) -> None:
        """A worker serves the path from now on (None), or one of its workers is gone."""
        ...


class SavedSessions(Protocol):
    """Where sessions are kept beyond this cell, by the digests of their tokens. Nothing here waits for the store."""

    def save(self, digest: str, saved: SavedSession) -> None: ...
    def drop(self, digest: str) -> None:
        """What waits to be saved is out of date; what is saved already stays."""
        ...

    def spend(self, digest: str) -> None:
        """Nobody may use this token again."""
        ...


class Lookout(Protocol):
    """Reads what other cells sent while this process did not run."""

    def look(self) -> None:
        """Act on all of it now, synchronously; a rollback among it is in force when this returns."""
        ...
