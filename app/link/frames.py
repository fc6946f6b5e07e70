"""The frames between a gateway and a path worker, as msgpack arrays; the link sends them in batches.

Bodies of messages and events, and state documents, are opaque bytes here.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

# -- gateway to worker ------------------------------------------------------------------------------------------------


class Open(Struct, frozen=True, array_like=True, tag="o"):
    """Sent before the first message of a session in this worker or epoch: its identity and last committed document."""

    session: int
    epoch: int
    connection_id: str
    user_id: str
    thread_id: str
    connected_at: float
    """Unix seconds."""
    transport: Literal["websocket", "http"]
    document: bytes | None


class Run(Struct, frozen=True, array_like=True, tag="r"):
    """Run one message of an open session; answered by `Started`, `RunEvent`*, `Done`."""

    session: int
    epoch: int
    number: int
    message_id: str
    body: bytes


class Cancel(Struct, frozen=True, array_like=True, tag="c"):
    """Stop this message now; answered by its `Done`: terminal `agent_stopped`, with `started` true or false."""

    session: int
    epoch: int
    number: int


class Close(Struct, frozen=True, array_like=True, tag="x"):
    """Forget these sessions (session, epoch); a running message is cancelled. There is no answer."""

    sessions: list[tuple[int, int]]


class Ping(Struct, frozen=True, array_like=True, tag="p"):
    count: int


class Barrier(Struct, frozen=True, array_like=True, tag="b"):
    """Answered by `BarrierPassed`, after everything that was sent before it."""

    count: int


class Check(Struct, frozen=True, array_like=True, tag="k"):
    """Restore this sample document in a temporary supervisor and export it again; answered by `Checked`."""

    count: int
    document: bytes


class SetFaults(Struct, frozen=True, array_like=True, tag="f"):
    """Replace the faults of this path, for drills; keys as in the setting `CROSSFADE_FAULTS`; empty: no faults."""

    faults: dict[str, float | int | str | bool]


class Stop(Struct, frozen=True, array_like=True, tag="s"):
    """End: running messages are cancelled, supervisors closed, nothing is answered. No signal ends a worker."""


ToWorker: TypeAlias = Open | Run | Cancel | Close | Ping | Barrier | Check | SetFaults | Stop

# -- worker to gateway ------------------------------------------------------------------------------------------------


class Ready(Struct, frozen=True, array_like=True, tag="R"):
    """The first frame, once the factory is imported and serves. `sample` is a state document after a short exchange."""

    pid: int
    build: str
    exports_state: bool
    sample: bytes | None


class Failed(Struct, frozen=True, array_like=True, tag="F"):
    """Sent instead of `Ready`, before the worker exits: one line for a person."""

    reason: str


class Started(Struct, frozen=True, array_like=True, tag="S"):
    """The message is about to run; the kernel has this frame before the supervisor sees the message."""

    session: int
    epoch: int
    number: int


class RunEvent(Struct, frozen=True, array_like=True, tag="E"):
    session: int
    epoch: int
    number: int
    body: bytes


class Done(Struct, frozen=True, array_like=True, tag="D"):
    """The terminal event of a message. It counts as `error` if `terminal` is `error`, else as `ok`."""

    session: int
    epoch: int
    number: int
    terminal: str
    body: bytes
    seconds: float
    document: bytes | None = None
    """The new state document, if it changed and is not too large."""
    started: bool = True
    """False only after `Cancel` of a message that had not begun."""
    rerun_safe: bool = False
    error: tuple[str, str, str] | None = None
    """(code, fingerprint, reference) of an `error`, for the error groups; the fingerprint has no user data."""
    thread_id: str | None = None
    """The session's new thread, after `thread_switched`."""
    restored: bool = True
    """False once, if the session's document could not be restored and it began from its identity alone."""


class Pong(Struct, frozen=True, array_like=True, tag="P"):
    count: int
    sessions: int
    running: int


class BarrierPassed(Struct, frozen=True, array_like=True, tag="B"):
    count: int
    sessions: int
    """Sessions that the worker still holds."""


class Checked(Struct, frozen=True, array_like=True, tag="K"):
    count: int
    ok: bool
    reason: str = ""


FromWorker: TypeAlias = Ready | Failed | Started | RunEvent | Done | Pong | BarrierPassed | Checked

Traffic: TypeAlias = Started | RunEvent | Done
"""What a worker sends about messages."""
