"""The contract between a path worker and a supervisor: what the worker calls, and what the supervisor is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct, field

from app.message_types import Request

DOCUMENT_BYTES = 16 * 1024

EventType: TypeAlias = Literal[
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_completed",
    "thread_history",
    "thread_switched",
]
TERMINAL: frozenset[str] = frozenset({"agent_completed", "thread_history", "thread_switched"})


class AgentEvent(Struct, frozen=True):
    """One event of a run; exactly one of the types in `TERMINAL` ends it."""

    type: EventType
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opening:
    """The identity of a session that the gateway opened; `connected_at` in Unix seconds."""

    connection_id: str
    user_id: str
    thread_id: str
    connected_at: float
    transport: Literal["websocket", "http"] = "websocket"


@runtime_checkable
class SessionSupervisor(Protocol):
    """The supervisor of one session: runs one message at a time, and its state can move to the other path."""

    rerun_safe: bool
    """Whether a message that was started, but has sent no event, may be run again elsewhere."""

    def run(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        """The events of one message, the terminal one last. An exception becomes `error internal`."""
        ...

    def export_state(self) -> bytes | None:
        """The state document after the last message, at most `DOCUMENT_BYTES`; None: the state cannot move."""
        ...

    def restore_state(self, document: bytes) -> None:
        """Continue from a document of either path. Raises `ValueError` if it cannot be read."""
        ...

    async def close(self) -> None: ...


MakeSupervisor: TypeAlias = Callable[[Opening], Awaitable[SessionSupervisor]]
"""Makes the supervisor of one session, for its transport."""


@dataclass(frozen=True, slots=True)
class PathServing:
    """A loaded path: how supervisors are made, the build's id, and whether state can move to the other path."""

    make: MakeSupervisor
    build: str
    exports_state: bool
