"""What a gateway and a path worker say to each other, as msgpack arrays; one batch of them is one frame of the link.

Bodies of messages and events, and state documents, are opaque bytes here: the link knows no message format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    pass

# -- gateway to worker ------------------------------------------------------------------------------------------------


class Open(Struct, frozen=True, array_like=True, tag="o"):
    """Before the first message of a session in this worker (or epoch): who it is and its last committed document."""

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
    """Do one message of an opened session; the worker answers `Started`, `RunEvent`*, `Done`."""

    session: int
    epoch: int
    number: int
    message_id: str
    body: bytes


class Cancel(Struct, frozen=True, array_like=True, tag="c"):
    """Stop that message now; answered by its `Done`: terminal `agent_stopped` with started true or false."""

    session: int
    epoch: int
    number: int


class Close(Struct, frozen=True, array_like=True, tag="x"):
    """Forget these sessions (session, epoch); a running message is cancelled and nothing is answered."""

    sessions: list[tuple[int, int]]


class Ping(Struct, frozen=True, array_like=True, tag="p"):
    count: int


class Barrier(Struct, frozen=True, array_like=True, tag="b"):
    """Answered, in order after all that was sent before it, with the number of sessions the worker still holds."""

    count: int


class Check(Struct, frozen=True, array_like=True, tag="k"):
    """Restore this sample document on a scratch supervisor and export it again; answered by `Checked`."""

    count: int
    document: bytes


class SetFaults(Struct, frozen=True, array_like=True, tag="f"):
    """Replace the faults of this path (drills); keys as in the setting `CROSSFADE_FAULTS`, empty: none."""

    faults: dict[str, float | int | str | bool]


ToWorker: TypeAlias = Open | Run | Cancel | Close | Ping | Barrier | Check | SetFaults

# -- worker to gateway ------------------------------------------------------------------------------------------------


class Ready(Struct, frozen=True, array_like=True, tag="R"):
    """Once, first: the factory is imported and serves. `sample` is a state document made after a short exchange."""

    pid: int
    build: str
    exports_state: bool
    sample: bytes | None


class Failed(Struct, frozen=True, array_like=True, tag="F"):
    """Instead of `Ready`: one line for a person; the worker then exits."""

    reason: str


class Started(Struct, frozen=True, array_like=True, tag="S"):
    """Sent, and handed to the kernel, before the message is touched."""

    session: int
    epoch: int
    number: int


class RunEvent(Struct, frozen=True, array_like=True, tag="E"):
    session: int
    epoch: int
    number: int
    body: bytes


class Done(Struct, frozen=True, array_like=True, tag="D"):
    """The terminal event. `outcome` counts it: an `error` terminal is `error`; whatever else is `ok`."""

    session: int
    epoch: int
    number: int
    terminal: str
    body: bytes
    seconds: float
    document: bytes | None = None
    """The new state document, when changed and within its bound."""
    started: bool = True
    """False only after `Cancel` of a message that was never touched."""
    rerun_safe: bool = False
    error: tuple[str, str, str] | None = None
    """(code, fingerprint, reference) of an `error` terminal, for the error groups; fingerprint has no user data."""
    thread_id: str | None = None
    """The session's thread from now on, after `thread_switched`."""
    restored: bool = True
    """False once, when this session's document could not be restored and it began from identity."""


class Pong(Struct, frozen=True, array_like=True, tag="P"):
    count: int
    sessions: int
    running: int


class BarrierPassed(Struct, frozen=True, array_like=True, tag="B"):
    count: int
    sessions: int


class Checked(Struct, frozen=True, array_like=True, tag="K"):
    count: int
    ok: bool
    reason: str = ""


FromWorker: TypeAlias = Ready | Failed | Started | RunEvent | Done | Pong | BarrierPassed | Checked


Traffic: TypeAlias = Started | RunEvent | Done
