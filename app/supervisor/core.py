"""The protocol-agnostic core that both paths and both transports share: the supervisor of one session.

It imports no web framework, which a test checks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

from app.message_types import Request
from app.supervisor import document as documents
from app.supervisor.agents import AgentContext
from app.supervisor.context import Context
from app.supervisor.contract import AgentEvent
from app.supervisor.document import Exchange
from app.supervisor.errors import BrokenAgent, SupervisorBusy, ThreadDenied, UnreadableDocument
from app.supervisor.isolation import claim
from app.supervisor.threads import owns_thread
from rollout.names import PathName

_WITHIN_A_RUN = frozenset({"agent_thinking", "tool_executing", "tool_completed"})


class Answerer(Protocol):
    """Answers the messages of one session: the built-in agents, or a custom supervisor."""

    rerun_safe: bool
    exports_state: bool

    def answer(self, request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
        """The events of one message, `agent_completed` last."""
        ...

    def part(self, before: bytes, request: Request) -> bytes:
        """This path's part of the document (JSON) after a run; `before` is the part before it."""
        ...

    def restore(self, part: bytes, document: bytes) -> None:
        """Continue from this path's part of a document (JSON, `null` if there is none yet). Raises if it cannot."""
        ...

    def dependencies(self) -> Iterable[object]:
        """The objects it was given, which no other session may share."""
        ...

    async def close(self) -> None: ...


@dataclass(eq=False, slots=True, weakref_slot=True)
class Dependencies:
    """The parts of one session's supervisor; each session gets its own."""

    path: PathName
    answerer: Answerer
    thread_secret: bytes


def create_supervisor_core(context: Context, dependencies: Dependencies) -> Supervisor:
    """The supervisor of one session.

    Raises `SharedDependency` if a dependency, direct or indirect, is global or belongs to another session.
    """
    for dependency in (dependencies, dependencies.answerer, *dependencies.answerer.dependencies()):
        claim(dependency)
    return Supervisor(context, dependencies)


class Supervisor:
    """Implements `contract.SessionSupervisor`: runs one message at a time and keeps the session's document.

    A message that fails or is cancelled leaves the document unchanged.
    """

    __slots__ = (
        "__weakref__",
        "_answerer",
        "_bytes",
        "_context",
        "_document",
        "_path",
        "_running",
        "_secret",
        "rerun_safe",
    )

    def __init__(self, context: Context, dependencies: Dependencies) -> None:
        self._context = context
        self._path: PathName = dependencies.path
        self._answerer = dependencies.answerer
        self._secret = dependencies.thread_secret
        self._document = documents.begin(context.user_id, context.thread_id)
        self._bytes: bytes | None = None
        self._running = False
        self.rerun_safe = dependencies.answerer.rerun_safe

    @property
    def thread_id(self) -> str:
        """The session's current thread."""
        return self._document.common.thread

    def run(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        """The events of one message. Raises `RunRefused` with a text for the client, or whatever the agent raises."""
        if request.kind in ("history", "switch"):
            return self._manage(request)
        return self._answer(request, run_id)

    async def _manage(self, request: Request) -> AsyncIterator[AgentEvent]:
        """Answer a request about threads, without an agent."""
        self._begin()
        try:
            thread = self._thread_of(request)
            yield self._history(request, thread) if request.kind == "history" else self._switch(thread)
        finally:
            self._running = False

    async def _answer(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        """The answerer's events, their order checked; the terminal one only after the document was updated."""
        self._begin()
        events = None
        try:
            context = AgentContext(self._context.user_id, self._thread_of(request), run_id)
            events = self._answerer.answer(request, context)
            started, completed = False, None
            async for event in events:
                if completed is not None:
                    raise BrokenAgent(f"{event.type} after agent_completed")
                if not started:
                    started = True
                    if event.type == "agent_started":
                        yield event
                        continue
                    yield AgentEvent("agent_started")
                if event.type == "agent_completed":
                    completed = event
                else:
                    yield _checked(event)
            if completed is None:
                raise BrokenAgent("the agent ended without agent_completed")
            self._commit(request, context, completed)
            yield completed
        except BaseException:
            # Stopped, cancelled or failed: the agent cleans up now, not when it is garbage-collected.
            if events is not None:
                await close_events(events)
            raise
        finally:
            self._running = False

    def _begin(self) -> None:
        if self._running:
            raise SupervisorBusy("another message is running; one runs at a time")
        self._running = True

    def export_state(self) -> bytes | None:
        """The state document; None: the answerer cannot export its state."""
        if not self._answerer.exports_state:
            return None
        if self._bytes is None:
            self._document, self._bytes = documents.write(self._document)
        return self._bytes

    def restore_state(self, document: bytes) -> None:
        """Continue from a document of either path. Raises `UnreadableDocument`; then begin with a new supervisor."""
        restored = documents.read(document)
        if restored.common.user != self._context.user_id:
            raise UnreadableDocument("the document belongs to another user")
        try:
            self._answerer.restore(bytes(restored.part(self._path)), document)
        except Exception as error:
            raise UnreadableDocument(f"{self._path} cannot restore the document: {error}") from error
        self._document, self._bytes = restored, document

    async def close(self) -> None:
        """Release what the session used."""
        await self._answerer.close()

    def _thread_of(self, request: Request) -> str:
        """The thread that a request names, if it is the user's; without one, the session's."""
        current = self._document.common.thread
        named = request.thread_id
        if named is None or named == current:
            return current
        if not owns_thread(self._context.user_id, named, self._secret):
            raise ThreadDenied("you have no such thread")
        return named

    def _history(self, request: Request, thread: str) -> AgentEvent:
        kept = documents.exchanges(self._document, thread)
        shown = kept if request.limit is None else kept[-request.limit :]
        rows = [{"run_id": each.run_id, "content": each.content, "answer": each.answer} for each in shown]
        return AgentEvent("thread_history", {"thread_id": thread, "exchanges": rows})

    def _switch(self, thread: str) -> AgentEvent:
        previous = self._document.common.thread
        self._document, self._bytes = documents.write(documents.switch(self._document, thread))
        return AgentEvent("thread_switched", {"thread_id": thread, "previous_thread_id": previous})

    def _commit(self, request: Request, context: AgentContext, completed: AgentEvent) -> None:
        answer = completed.payload.get("content", "")
        exchange = Exchange(
            context.run_id, context.thread_id, request.content, answer if isinstance(answer, str) else ""
        )
        part = self._answerer.part(bytes(self._document.part(self._path)), request)
        after = documents.advance(self._document, exchange, self._path, part)
        self._document, self._bytes = documents.write(after)


def _checked(event: AgentEvent) -> AgentEvent:
    if event.type not in _WITHIN_A_RUN:
        raise BrokenAgent(f"{event.type} is not allowed within a run; allowed: {', '.join(sorted(_WITHIN_A_RUN))}")
    if event.type == "tool_completed" and "results" not in event.payload:
        raise BrokenAgent("tool_completed without results")
    return event


async def close_events(events: AsyncIterator[object]) -> None:
    """Close an agent's events if they are a generator; does nothing if they have ended."""
    aclose = getattr(events, "aclose", None)
    if aclose is not None:
        await aclose()
