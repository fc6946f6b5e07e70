"""The core: order of events, threads, one message at a time, what a cancelled run leaves, and that users stay apart."""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping
from types import BuiltinFunctionType, MappingProxyType, ModuleType
from typing import Literal

import msgspec
import pytest

import app.supervisor
from app.errors import SettingError
from app.message_types import Request
from app.supervisor.agents import AGENTS, Agent, AgentContext, check_agent_setting, key_terms, split_sentences
from app.supervisor.builtin import BuiltinAnswerer
from app.supervisor.context import Context, RequestContext, WebSocketContext
from app.supervisor.contract import AgentEvent, Opening
from app.supervisor.contract import SessionSupervisor as Contract
from app.supervisor.core import Dependencies, Supervisor, create_supervisor_core
from app.supervisor.errors import BrokenAgent, RunRefused, SharedDependency, SupervisorBusy, ThreadDenied, UnknownAgent
from app.supervisor.loading import load_path
from app.supervisor.threads import new_thread_id
from rollout.names import PathName

SECRET = b"secret"


def make(context: Context | None = None, agents: Mapping[str, Agent] = AGENTS, default: str = "echo") -> Supervisor:
    context = context or WebSocketContext("c-1", "ada", new_thread_id("ada", SECRET))
    return create_supervisor_core(context, Dependencies("v3", BuiltinAnswerer(default, agents), SECRET))


async def events_of(supervisor: Contract, request: Request, run_id: str = "r-1") -> list[AgentEvent]:
    return [event async for event in supervisor.run(request, run_id)]


def playing(*events: AgentEvent) -> Mapping[str, Agent]:
    async def agent(request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
        for event in events:
            yield event

    return MappingProxyType({"echo": agent})


DONE = AgentEvent("agent_completed", {"content": "done"})


async def test_echo_is_the_default_and_answers_with_the_words() -> None:
    events = await events_of(make(), Request("message", "hello"))
    assert events == [
        AgentEvent("agent_started", {"agent": "echo"}),
        AgentEvent("agent_completed", {"content": "hello"}),
    ]


async def test_outline_has_every_kind_of_event_and_its_tools_have_results() -> None:
    text = "Rollbacks win. Rollbacks are verified! Does evidence guess?\nNo."
    events = await events_of(make(), Request("agent", text, "outline"))
    tool = ["tool_executing", "tool_completed"]
    assert [event.type for event in events] == ["agent_started", "agent_thinking", *tool, *tool, "agent_completed"]
    results = [event.payload["results"] for event in events if event.type == "tool_completed"]
    assert results == [{"sentences": 4}, {"terms": ["rollbacks", "verified", "does", "evidence", "guess"]}]
    assert events[-1].payload["content"] == (
        "rollbacks, verified, does, evidence, guess\n"
        "1. Rollbacks win.\n2. Rollbacks are verified!\n3. Does evidence guess?\n4. No."
    )


def test_the_text_tools_bear_text_without_words() -> None:
    assert split_sentences(" \n ") == [] and key_terms("a be see") == []


async def test_an_unknown_agent_is_a_clean_error_that_does_not_quote_the_client() -> None:
    supervisor = make()
    before = supervisor.export_state()
    with pytest.raises(UnknownAgent) as caught:
        await events_of(supervisor, Request("agent", "hello", "<script>"))
    assert caught.value.code == "invalid_payload" and caught.value.text == "payload.agent must be one of: echo, outline"
    assert supervisor.export_state() == before
    assert len(await events_of(supervisor, Request("message", "goes on"))) == 2


def test_the_agent_setting_is_checked() -> None:
    assert check_agent_setting("outline") == "outline"
    with pytest.raises(SettingError, match=r"CROSSFADE_AGENT='parrot'.*echo, outline"):
        check_agent_setting("parrot")


async def test_agent_started_is_made_when_the_agent_has_none() -> None:
    events = await events_of(make(agents=playing(DONE)), Request("message", "x"))
    assert [event.type for event in events] == ["agent_started", "agent_completed"]


STARTED, THINKING = AgentEvent("agent_started"), AgentEvent("agent_thinking")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "without agent_completed"),
        ([STARTED, THINKING], "without agent_completed"),
        ([STARTED, DONE, THINKING], "after agent_completed"),
        ([STARTED, DONE, DONE], "after agent_completed"),
        ([STARTED, STARTED, DONE], "not allowed within a run"),
        ([STARTED, AgentEvent("thread_history"), DONE], "not allowed within a run"),
        ([STARTED, AgentEvent("tool_completed", {"tool_name": "t"}), DONE], "without results"),
    ],
)
async def test_an_agent_that_breaks_the_order_fails_and_leaves_the_document(
    events: list[AgentEvent], reason: str
) -> None:
    supervisor = make(agents=playing(*events))
    before = supervisor.export_state()
    heard = []
    with pytest.raises(BrokenAgent, match=reason):
        async for event in supervisor.run(Request("message", "x"), "r-1"):
            heard.append(event.type)
    assert "agent_completed" not in heard
    assert supervisor.export_state() == before


async def test_history_and_threads() -> None:
    supervisor = make()
    first, second = supervisor.thread_id, new_thread_id("ada", SECRET)
    for content in ("one", "two"):
        await events_of(supervisor, Request("message", content), f"r-{content}")
    await events_of(supervisor, Request("message", "elsewhere", thread_id=second), "r-3")

    assert await events_of(supervisor, Request("switch", thread_id=second)) == [
        AgentEvent("thread_switched", {"thread_id": second, "previous_thread_id": first})
    ]
    assert supervisor.thread_id == second
    (history,) = await events_of(supervisor, Request("history"))
    assert history.payload == {
        "thread_id": second,
        "exchanges": [{"run_id": "r-3", "content": "elsewhere", "answer": "elsewhere"}],
    }
    (history,) = await events_of(supervisor, Request("history", limit=1, thread_id=first))
    assert history.payload["exchanges"] == [{"run_id": "r-two", "content": "two", "answer": "two"}]


@pytest.mark.parametrize("kind", ["message", "agent", "history", "switch"])
async def test_a_thread_of_somebody_else_is_denied(kind: str) -> None:
    supervisor = make()
    request = msgspec.structs.replace(Request("message", "x", thread_id=new_thread_id("bob", SECRET)), kind=kind)
    with pytest.raises(ThreadDenied) as caught:
        await events_of(supervisor, request)
    assert caught.value.code == "access_denied"
    assert len(await events_of(supervisor, Request("message", "goes on"))) == 2


@pytest.mark.parametrize("second", [Request("message", "x"), Request("history")])
async def test_a_second_message_is_refused_while_one_runs(second: Request) -> None:
    supervisor = make()
    running = supervisor.run(Request("message", "first"), "r-1")
    await anext(running)
    with pytest.raises(SupervisorBusy) as caught:
        await events_of(supervisor, second)
    assert caught.value.code == "busy"
    assert [event.type async for event in running] == ["agent_completed"]
    assert await events_of(supervisor, second)


@pytest.mark.parametrize("by", ["cancel", "aclose"])
async def test_a_cancelled_run_cleans_up_and_leaves_the_document(by: str) -> None:
    reached, cleaned = asyncio.Event(), asyncio.Event()

    async def agent(request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
        try:
            yield STARTED
            if request.content == "stuck":
                reached.set()
                if by == "aclose":
                    yield THINKING
                await asyncio.Event().wait()
            yield DONE
        finally:
            cleaned.set()

    supervisor = make(agents=MappingProxyType({"echo": agent}))
    await events_of(supervisor, Request("message", "fine"))
    before = supervisor.export_state()
    cleaned.clear()
    if by == "cancel":
        task = asyncio.create_task(events_of(supervisor, Request("message", "stuck")))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        running = supervisor.run(Request("message", "stuck"), "r-2")
        assert [(await anext(running)).type, (await anext(running)).type] == ["agent_started", "agent_thinking"]
        await running.aclose()  # type: ignore[attr-defined]
    assert cleaned.is_set()
    assert supervisor.export_state() == before
    assert len(await events_of(supervisor, Request("message", "goes on"))) == 2
    assert supervisor.export_state() != before


async def test_the_document_has_advanced_when_the_terminal_event_is_heard() -> None:
    supervisor = make()
    before = supervisor.export_state()
    async for event in supervisor.run(Request("message", "x"), "r-1"):
        assert (supervisor.export_state() != before) is (event.type == "agent_completed")


def test_the_supervisor_keeps_the_contract() -> None:
    assert isinstance(make(), Contract)
    assert make().rerun_safe


def test_shared_and_global_dependencies_are_refused() -> None:
    one, two = WebSocketContext("c-1", "ada"), WebSocketContext("c-2", "bob")
    shared = Dependencies("v3", BuiltinAnswerer(), SECRET)
    kept = create_supervisor_core(one, shared)
    with pytest.raises(SharedDependency, match="belongs to another session"):
        create_supervisor_core(two, shared)

    answerer = BuiltinAnswerer()
    also = create_supervisor_core(one, Dependencies("v3", answerer, SECRET))
    with pytest.raises(SharedDependency, match="BuiltinAnswerer"):
        create_supervisor_core(two, Dependencies("v3", answerer, SECRET))
    assert kept is not also

    class Stateful:
        def __call__(self, request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
            raise NotImplementedError

    agents: Mapping[str, Agent] = {"echo": Stateful()}
    first = make(one, agents)
    with pytest.raises(SharedDependency, match="Stateful"):
        make(two, agents)
    assert first is not None

    with pytest.raises(SharedDependency, match="Stateful is global"):
        make(one, {"echo": Stateful})  # type: ignore[dict-item]
    with pytest.raises(SharedDependency, match="asyncio is global"):
        make(one, {"echo": asyncio})  # type: ignore[dict-item]


ADA, BOB = "ada-91c2e", "bob-7f3a9"
"""Parts of no other word: some module that another test has imported may hold a 'combobox'."""


def reachable(start: object) -> set[str]:
    """All text reachable from `start`: attributes, containers, closures and the globals of our supervisor modules.

    Other modules and classes end the walk, because through them everything reaches everything.
    """
    seen: set[int] = set()
    texts: set[str] = set()
    todo: list[object] = [start]
    keep: list[object] = []  # ids stay unique only while the objects live
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        keep.append(thing)
        if isinstance(thing, str):
            texts.add(thing)
        elif isinstance(thing, (bytes, msgspec.Raw)):
            texts.add(bytes(thing).decode(errors="replace"))
        elif isinstance(thing, (ModuleType, type)):
            name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
            if name.startswith("app.supervisor"):
                todo.append(dict(vars(thing)))
        elif not isinstance(thing, BuiltinFunctionType) and thing is not __builtins__ and not _is_foreign(thing):
            todo.extend(gc.get_referents(thing))
    return texts


def _is_foreign(thing: object) -> bool:
    """A namespace, function or task that belongs to the test or to a library and not to a supervisor."""
    if isinstance(thing, dict) and "__builtins__" in thing:
        return not str(thing.get("__name__", "")).startswith("app.supervisor")
    return isinstance(thing, (asyncio.AbstractEventLoop, asyncio.Task))


async def talked(path: PathName, transport: Literal["websocket", "http"], user: str) -> Contract:
    serving = load_path("builtin", path, thread_secret=SECRET)
    supervisor = await serving.make(Opening(f"connection-of-{user}", user, new_thread_id(user, SECRET), 0.0, transport))
    await events_of(supervisor, Request("agent", f"words of {user}", "outline"), f"run-of-{user}")
    return supervisor


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("path", ["v2", "v3"])
async def test_nothing_of_one_user_is_reachable_from_anothers_supervisor(
    path: PathName, transport: Literal["websocket", "http"]
) -> None:
    ada, bob = await talked(path, transport, ADA), await talked(path, transport, BOB)
    from_ada, from_bob = reachable(ada), reachable(bob)
    assert any(f"words of {ADA}" in text for text in from_ada) and f"connection-of-{ADA}" in from_ada
    assert not [text for text in from_ada if BOB in text]
    assert not [text for text in from_bob if ADA in text]


def test_the_walk_would_find_a_shared_object() -> None:
    shared: dict[str, str] = {}

    def keeping(user: str) -> Callable[..., AsyncIterator[AgentEvent]]:
        shared[user] = f"words of {user}"

        async def agent(request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
            yield AgentEvent("agent_completed", {"content": str(shared)})

        return agent

    ada, bob = make(agents={"echo": keeping("ada")}), make(agents={"echo": keeping("bob")})
    assert "words of bob" in reachable(ada) and "words of ada" in reachable(bob)


@pytest.mark.parametrize(
    "module", ["core", "context", "document", "threads", "agents", "websocket", "http", "contract"]
)
def test_the_core_imports_no_web_framework(module: str) -> None:
    source = inspect.getsource(importlib.import_module(f"app.supervisor.{module}"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert imported and not imported & {"litestar", "starlette", "fastapi", "uvicorn", "websockets", "picows"}


def test_only_loading_knows_legacy() -> None:
    knowing = []
    for found in pkgutil.iter_modules(app.supervisor.__path__):
        lines = inspect.getsource(importlib.import_module(f"app.supervisor.{found.name}")).splitlines()
        knowing += [found.name for line in lines if "supervisor.legacy" in line]
    assert knowing == ["loading"]


def test_a_request_context_is_served_by_the_same_core() -> None:
    supervisor = make(RequestContext("q-1", "ada"))
    assert type(supervisor) is type(make())
    assert issubclass(UnknownAgent, RunRefused)
