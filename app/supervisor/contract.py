"""What a path worker needs of a supervisor, and what a supervisor is given: the seam between `paths` and `supervisor`.

It must not know of a web framework, of the link or of the store.
"""

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
    """The identity of a session as the gateway states it; `connected_at` in Unix seconds."""

    connection_id: str
    user_id: str
    thread_id: str
    connected_at: float
    transport: Literal["websocket", "http"] = "websocket"


@runtime_checkable
class SessionSupervisor(Protocol):
    """One session's supervisor: runs one message at a time and can carry its state to the other path."""

    rerun_safe: bool
    """Whether a started message of which no event was sent may be run again elsewhere."""

    def run(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        """The events of one message, the terminal one last. An exception becomes `error internal`."""
        ...

    def export_state(self) -> bytes | None:
        """The state document after the last message (at most `DOCUMENT_BYTES`), or None: no state to carry."""
        ...

    def restore_state(self, document: bytes) -> None:
        """Go on from a document of either path. Raises `ValueError` when it cannot be read."""
        ...

    async def close(self) -> None: ...


MakeSupervisor: TypeAlias = Callable[[Opening], Awaitable[SessionSupervisor]]
"""What a path serves: makes the supervisor of one session, by its transport."""


@dataclass(frozen=True, slots=True)
class PathServing:
    """A loaded path: how supervisors are made, the build's id, and whether state can be carried."""

    make: MakeSupervisor
    build: str
    exports_state: bool
