"""The same scripts on v2 and v3, over both transports, give the same events, refusals and state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import pytest
from litestar.connection import Request as LitestarRequest
from litestar.datastructures import State

from app.message_types import Request
from app.messages import request_of
from app.supervisor import legacy
from app.supervisor.context import RequestContext
from app.supervisor.contract import Opening, SessionSupervisor
from app.supervisor.core import Dependencies
from app.supervisor.errors import RunRefused
from app.supervisor.http import get_request_scoped_supervisor
from app.supervisor.loading import load_path
from app.supervisor.threads import new_thread_id
from rollout.names import PathName

Transport = Literal["websocket", "http"]
WAYS: list[tuple[PathName, Transport]] = [("v2", "websocket"), ("v3", "websocket"), ("v2", "http"), ("v3", "http")]
SECRET = b"secret"
MINE, ALSO_MINE, NOT_MINE = (new_thread_id(user, SECRET) for user in ("ada", "ada", "bob"))


def frame(type: str, payload: Mapping[str, object], **more: object) -> Request:
    """As a client says it: also what the message format resolves is the same on both paths."""
    return request_of(json.dumps({"type": type, "payload": payload, **more}))


SCRIPTS: dict[str, list[Request]] = {
    "one message": [frame("user_message", {"content": "hello"})],
    # The trap: without a thread_id a message failed on v2 only.
    "no thread_id": [frame("chat", {"content": "a"}), frame("chat", {"content": "b"}, thread_id=None)],
    "the session's thread_id": [frame("chat", {"content": "a"}, thread_id=MINE)],
    "another thread of mine": [frame("chat", {"content": "a"}, thread_id=ALSO_MINE), frame("get_thread_history", {})],
    "somebody else's thread": [frame("chat", {"content": "a"}, thread_id=NOT_MINE), frame("chat", {"content": "b"})],
    # The trap: `message` was accepted as a field by the router and ignored later.
    "every name of the text": [frame("message", {name: f"as {name}"}) for name in ("content", "text", "message")],
    "every kind of event": [frame("start_agent", {"user_request": "One. Two. Three.", "agent": "outline"})],
    "the default agent": [frame("execute_agent", {"user_request": "hello"})],
    "an unknown agent": [
        frame("start_agent", {"user_request": "x", "agent": "parrot"}),
        frame("chat", {"content": "goes on"}),
    ],
    "history": [
        *(frame("chat", {"content": f"message {number}"}) for number in range(14)),
        frame("get_thread_history", {}),
        frame("get_thread_history", {"limit": 2}),
        frame("get_thread_history", {}, thread_id=NOT_MINE),
    ],
    "switch and back": [
        frame("chat", {"content": "here"}),
        frame("switch_thread", {"thread_id": ALSO_MINE}),
        frame("chat", {"content": "there"}),
        frame("get_thread_history", {}),
        frame("switch_thread", {"thread_id": MINE}),
        frame("get_thread_history", {}),
        frame("switch_thread", {"thread_id": NOT_MINE}),
        frame("switch_thread", {"thread_id": "t-made-up"}),
    ],
    "large and odd text": [
        frame("chat", {"content": text}) for text in ("x" * 4000, "👋" * 4000, "\x00\x7f\u2028", " ")
    ],
}


async def supervisor(path: PathName, transport: Transport, agent: str = "echo") -> SessionSupervisor:
    serving = load_path("builtin", path, thread_secret=SECRET, agent=agent)
    return await serving.make(Opening("c-1", "ada", MINE, 1_700_000_000.0, transport))


async def play(target: SessionSupervisor, script: list[Request]) -> list[tuple[object, ...]]:
    """What a client would hear; run ids are given, so nothing has to be made equal afterwards."""
    heard: list[tuple[object, ...]] = []
    for number, request in enumerate(script):
        try:
            async for event in target.run(request, f"r-{number}"):
                heard.append((event.type, event.payload))
        except RunRefused as refusal:
            heard.append(("error", refusal.code, refusal.text))
    return heard


def common(document: bytes | None) -> object:
    assert document is not None
    return msgspec.json.decode(document)["common"]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_every_way_answers_alike(script: str) -> None:
    answers, states = [], []
    for path, transport in WAYS:
        target = await supervisor(path, transport)
        answers.append(await play(target, SCRIPTS[script]))
        states.append(common(target.export_state()))
    assert len(answers[0]) >= len(SCRIPTS[script])
    assert answers == [answers[0]] * len(WAYS)
    assert states == [states[0]] * len(WAYS)


@pytest.mark.parametrize("way", WAYS)
async def test_the_known_traps_end_well(way: tuple[PathName, Transport]) -> None:
    assert await play(await supervisor(*way), SCRIPTS["no thread_id"]) == [
        ("agent_started", {"agent": "echo"}),
        ("agent_completed", {"content": "a"}),
        ("agent_started", {"agent": "echo"}),
        ("agent_completed", {"content": "b"}),
    ]
    heard = await play(await supervisor(*way), SCRIPTS["every name of the text"])
    assert [event[1] for event in heard if event[0] == "agent_completed"] == [
        {"content": "as content"},
        {"content": "as text"},
        {"content": "as message"},
    ]
    assert await play(await supervisor(*way), SCRIPTS["somebody else's thread"]) == [
        ("error", "access_denied", "you have no such thread"),
        ("agent_started", {"agent": "echo"}),
        ("agent_completed", {"content": "b"}),
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_the_default_agent_is_the_setting(way: tuple[PathName, Transport]) -> None:
    heard = await play(await supervisor(*way, agent="outline"), SCRIPTS["one message"])
    assert heard[0] == ("agent_started", {"agent": "outline"})


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("start", "target"), [("v2", "v3"), ("v3", "v2")])
async def test_a_session_that_moves_in_the_middle_hears_what_one_that_stays_hears(
    script: str, start: PathName, target: PathName
) -> None:
    requests = [*SCRIPTS["history"][:3], *SCRIPTS[script], *SCRIPTS[script]]
    stays = await supervisor(start, "websocket")
    expected = [await play(stays, [request]) for request in requests]
    heard, document, path = [], None, start
    for request in requests:
        moved = await supervisor(path, "websocket")
        if document is not None:
            moved.restore_state(document)
        heard.append(await play(moved, [request]))
        document, path = moved.export_state(), target if path == start else start
    assert heard == expected
    assert common(document) == common(stays.export_state())


@pytest.fixture
def mock_requests(monkeypatch: pytest.MonkeyPatch) -> list[LitestarRequest[Any, Any, State]]:
    """The requests that v2 makes up, as they are made."""
    made: list[LitestarRequest[Any, Any, State]] = []

    class Recording(LitestarRequest[Any, Any, State]):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(legacy, "Request", Recording)
    return made


async def test_v2_really_makes_up_a_request(mock_requests: list[LitestarRequest[Any, Any, State]]) -> None:
    await play(await supervisor("v2", "websocket"), SCRIPTS["one message"])
    (request,) = mock_requests
    assert request.scope["type"] == "websocket"  # type: ignore[comparison-overlap]
    assert list(request.headers.items()) == []
    with pytest.raises(RuntimeError):
        await request.receive()
    with pytest.raises(RuntimeError):
        await request.send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_v2_goes_through_the_request_scoped_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[RequestContext] = []

    def recording(context: RequestContext, dependencies: Dependencies) -> SessionSupervisor:
        contexts.append(context)
        return get_request_scoped_supervisor(context, dependencies)

    monkeypatch.setattr(legacy, "get_request_scoped_supervisor", recording)
    await supervisor("v2", "websocket")
    assert [(type(context).__name__, context.user_id, context.thread_id) for context in contexts] == [
        ("RequestContext", "ada", MINE)
    ]


@pytest.mark.parametrize("way", [("v3", "websocket"), ("v3", "http"), ("v2", "http")])
async def test_nothing_else_makes_one_up(
    way: tuple[PathName, Transport], mock_requests: list[LitestarRequest[Any, Any, State]]
) -> None:
    await play(await supervisor(*way), SCRIPTS["one message"])
    assert mock_requests == []
