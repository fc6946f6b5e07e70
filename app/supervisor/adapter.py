"""Adapter for custom supervisors: makes what a factory returned answer like the built-in agents.

It goes by shape (duck typing), so a custom package needs to import nothing of Crossfade.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import msgspec

from app.errors import FactoryError
from app.message_types import Request
from app.supervisor.agents import AgentContext
from app.supervisor.contract import AgentEvent, EventType
from app.supervisor.core import close_events
from app.supervisor.errors import BrokenAgent

_EVENT_TYPES = frozenset(get_args(EventType))


@dataclass(frozen=True, slots=True)
class SupervisorMessage:
    """One message as a custom supervisor gets it; `agent` is the name that the client asked for, if any."""

    content: str
    kind: Literal["message", "agent"]
    agent: str | None
    thread_id: str
    run_id: str


class FactoryAnswerer:
    """Implements `core.Answerer` with what a factory made for this session.

    That is an async generator function, or an object with a `run` (or `__call__`) of that shape and optionally
    `export_state() -> dict`, `restore_state(dict[, document])`, `close()` and `rerun_safe`. It yields events
    (`AgentEvent`, anything with `type` and `payload`, or a dict with these keys) and strings, which are pieces of the
    answer. When it ends without an `agent_completed`, one is made from the pieces.
    """

    __slots__ = ("__weakref__", "_custom", "_run", "exports_state", "rerun_safe")

    def __init__(self, custom: object, origin: str) -> None:
        """`origin` names the factory in errors. Raises `FactoryError` if `custom` cannot answer messages."""
        self._custom = custom
        self._run = _runnable(custom, origin)
        self.rerun_safe = bool(getattr(custom, "rerun_safe", False))
        self.exports_state = callable(getattr(custom, "export_state", None))

    async def answer(self, request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
        """The events of one message. Raises `BrokenAgent` for anything else, and whatever the custom code raises."""
        kind: Literal["message", "agent"] = "agent" if request.kind == "agent" else "message"
        message = SupervisorMessage(request.content, kind, request.agent, context.thread_id, context.run_id)
        items = self._run(message)
        if not hasattr(items, "__aiter__"):
            raise BrokenAgent(f"a supervisor returned {type(items).__qualname__} instead of an async iterator")
        pieces: list[str] = []
        completed: AgentEvent | None = None
        try:
            async for item in items:
                if completed is not None:
                    raise BrokenAgent("a supervisor continued after agent_completed")
                if isinstance(item, str):
                    pieces.append(item)
                    continue
                event = _event(item)
                if event.type == "agent_completed":
                    completed = event
                else:
                    yield event
        finally:
            await close_events(items)
        payload = {} if completed is None else completed.payload
        yield AgentEvent("agent_completed", {"content": "".join(pieces), **payload})

    def part(self, before: bytes, request: Request) -> bytes:
        """The exported state as JSON. Raises `BrokenAgent` if it is not a JSON object."""
        if not self.exports_state:
            return before
        state = cast(Any, self._custom).export_state()
        if not isinstance(state, Mapping):
            raise BrokenAgent(f"export_state returned {type(state).__qualname__} instead of a dict")
        try:
            return msgspec.json.encode(state)
        except (TypeError, ValueError, RecursionError) as error:
            raise BrokenAgent(f"export_state returned a value that JSON does not have: {error}") from error

    def restore(self, part: bytes, document: bytes) -> None:
        """Pass the supervisor the dict that it, or another build of it, exported on this path.

        A `restore_state` with a second parameter gets the whole document too, and is called even if this path has no
        part yet (the dict is then empty): so a new version can take over the state of the old one.
        """
        restore = getattr(self._custom, "restore_state", None)
        if restore is None:
            return
        state = msgspec.json.decode(part)
        if len(inspect.signature(restore).parameters) > 1:
            restore(state or {}, msgspec.json.decode(document))
        elif state is not None:
            restore(state)

    def dependencies(self) -> Iterable[object]:
        return (self._custom,)

    async def close(self) -> None:
        """Call its `close()`, sync or async, if it has one."""
        close = getattr(self._custom, "close", None)
        if close is not None:
            result = close()
            if inspect.isawaitable(result):
                await result


def _runnable(custom: object, origin: str) -> Callable[[SupervisorMessage], AsyncIterator[object]]:
    """The callable that answers one message: `custom.run`, else `custom` itself."""
    run = getattr(custom, "run", None)
    if run is None and callable(custom) and not isinstance(custom, type):
        run = custom
    if not callable(run):
        raise FactoryError(
            f"{origin} returned {type(custom).__qualname__}; "
            "allowed: an async generator function, or an object with `run`"
        )
    call = getattr(run, "__call__", None)  # noqa: B004 - an object's own `__call__` may be the coroutine function
    if inspect.iscoroutinefunction(run) or inspect.iscoroutinefunction(call):
        raise FactoryError(
            f"{origin} returned a coroutine function; allowed: an async generator function, one with `yield`"
        )
    return cast("Callable[[SupervisorMessage], AsyncIterator[object]]", run)


def _event(item: object) -> AgentEvent:
    if isinstance(item, AgentEvent):
        return item
    if isinstance(item, Mapping):
        kind, payload = item.get("type"), item.get("payload", {})
    else:
        kind, payload = getattr(item, "type", None), getattr(item, "payload", {})
    if kind not in _EVENT_TYPES or not isinstance(payload, Mapping):
        raise BrokenAgent(f"a supervisor yielded {type(item).__qualname__}; allowed: text, or an event")
    return AgentEvent(cast(EventType, kind), payload)
