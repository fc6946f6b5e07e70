"""`GET /ws` and `POST /api/messages` on real connections: refused before the upgrade, answered, and cut short."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakSet

import httpx
import pytest
import websockets
from litestar import Litestar
from websockets.asyncio.client import connect

from app.gateway.connection import Connection
from app.gateway.handshake import open_websocket
from app.gateway.http import post_message
from app.gateway.http_connection import HttpConnection
from app.metrics.counters import ADMISSIONS
from tests.gateway.harness import frame, opener_of, with_settings
from tests.gateway.live_cell import LiveCell
from tests.gateway.serving import PATIENCE_S, serve


class Http(HttpConnection):
    """Remembers every one that is not gone."""

    alive: ClassVar[WeakSet[HttpConnection]] = WeakSet()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.alive.add(self)


class Framed(Connection):
    """Remembers every one that is not gone."""

    alive: ClassVar[WeakSet[Connection]] = WeakSet()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.alive.add(self)


@dataclass
class Service:
    cell: LiveCell
    port: int

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def messages(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/messages?user=ann"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    settings = with_settings(max_sessions=5, rate_messages_per_minute=60, rate_messages_burst=4)
    cell = LiveCell(settings, percentage=100)
    app = Litestar([open_websocket, post_message], openapi_config=None)
    app.state.session_opener = opener_of(cell, occupancy=cell)
    async with serve(app, Framed, Http) as server:
        yield Service(cell, server.port)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
        yield client


# -- GET /ws ----------------------------------------------------------------------------------------------------------


async def test_a_socket_is_greeted_and_served(service: Service) -> None:
    async with connect(service.ws + "?user=ann") as socket:
        ready = json.loads(await socket.recv())
        assert (ready["type"], ready["seq"], ready["user_id"], ready["thread_id"]) == (
            "connection_ready",
            1,
            "ann",
            "t-ann",
        )
        await socket.send(frame("chat", "m1"))
        assert [json.loads(await socket.recv())["type"] for _ in range(3)] == [
            "ack",
            "agent_thinking",
            "agent_completed",
        ]
    async with connect(f"{service.ws}?user=ann&resume={ready['payload']['resume_token']}") as socket:
        back = json.loads(await socket.recv())["payload"]
        assert (back["recovered"], back["outcomes"]) == (True, [["m1", "agent_completed"]])


@pytest.mark.parametrize(
    ("query", "headers", "status", "kind"),
    [
        ("", {}, 401, "not_signed_in"),
        ("?user=ann", {"Origin": "https://evil.example"}, 403, "not_allowed"),
        ("?user=ann&thread=other", {}, 403, "not_allowed"),
    ],
)
async def test_a_socket_and_a_message_are_refused_with_the_same_problem_document(
    service: Service, client: httpx.AsyncClient, query: str, headers: dict[str, str], status: int, kind: str
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(service.ws + query, additional_headers=headers)
    assert service.cell.sockets() == 0
    response = refused.value.response
    assert response.body is not None
    problem = json.loads(response.body)
    assert (problem.pop("title") != "", problem.pop("detail") != "") == (True, True)
    assert problem == {"status": status, "type": f"urn:crossfade:{kind}"}
    posted = await client.post(service.messages.partition("?")[0] + query, content=frame(), headers=headers)
    assert (response.status_code, posted.status_code) == (status, status)
    assert response.headers["content-type"] == posted.headers["content-type"] == "application/problem+json"
    assert posted.content == response.body


async def test_too_many_sockets_of_a_user_and_a_full_cell_say_when_to_try_again(
    service: Service, client: httpx.AsyncClient
) -> None:
    open_sockets = [await connect(f"{service.ws}?user=ann") for _ in range(3)]
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(f"{service.ws}?user=ann")
    assert refused.value.response.status_code == 429
    open_sockets += [await connect(f"{service.ws}?user=bob") for _ in range(2)]
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(f"{service.ws}?user=cid")
    assert (refused.value.response.status_code, refused.value.response.headers["retry-after"]) == (503, "1")
    posted = await client.post(service.messages, content=frame())
    assert (posted.status_code, posted.headers["retry-after"]) == (503, "1")
    for socket in open_sockets:
        await socket.close()


async def test_who_comes_back_needs_no_free_connection(service: Service) -> None:
    """The half-open socket of a client that comes back still counts as one of its connections."""
    sockets = [await connect(f"{service.ws}?user=ann") for _ in range(3)]
    token = json.loads(await sockets[0].recv())["payload"]["resume_token"]
    async with connect(f"{service.ws}?user=ann&resume={token}") as again:
        assert json.loads(await again.recv())["payload"]["recovered"] is True
    for socket in sockets:
        await socket.close()


async def test_nothing_of_a_connection_is_left_for_the_collector(service: Service) -> None:
    gc.collect()
    gc.disable()
    try:
        async with connect(service.ws + "?user=ann") as socket:
            await socket.send(frame("chat", "m1"))
            assert [json.loads(await socket.recv())["seq"] for _ in range(4)] == [1, 2, 3, 4]
            assert len(Framed.alive) == 1
        with pytest.raises(websockets.InvalidStatus):
            await connect(service.ws)
        async with asyncio.timeout(PATIENCE_S):
            while Framed.alive or Http.alive:  # noqa: ASYNC110 - the server's turns are what is awaited
                await asyncio.sleep(0)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["crossfade", "jwt.YS5iLmM"], "crossfade"), (["jwt.YS5iLmM"], None), (["chat"], "chat"), (None, None)],
)
async def test_a_token_among_the_subprotocols_is_not_echoed(
    service: Service, offered: list[Any] | None, chosen: str | None
) -> None:
    async with connect(service.ws + "?user=ann", subprotocols=offered) as socket:
        assert json.loads(await socket.recv())["type"] == "connection_ready"
        assert socket.subprotocol == chosen
        assert socket.response is not None
        assert "jwt." not in str(socket.response.headers)


# -- POST /api/messages -----------------------------------------------------------------------------------------------


async def test_a_message_is_answered_with_its_events(service: Service, client: httpx.AsyncClient) -> None:
    response = await client.post(service.messages, content=frame("chat", "m1"))
    answer = response.json()
    assert (response.status_code, answer["outcome"]) == (200, "agent_completed")
    assert [event["type"] for event in answer["events"]] == ["ack", "agent_thinking", "agent_completed"]
    assert [event["seq"] for event in answer["events"]] == [1, 2, 3]
    assert service.cell.count("v3", "ok", "http") == 1
    assert service.cell.counters.slots[ADMISSIONS["v3", "flag"]] == 1
    assert service.cell.sockets() == 0
    assert service.cell.v3.held == {}


async def test_a_message_is_streamed_when_asked_for(service: Service, client: httpx.AsyncClient) -> None:
    headers = {"accept": "text/event-stream"}
    response = await client.post(service.messages, content=frame("chat", "m1"), headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.splitlines() if line.startswith("event: ")]
    assert lines == ["event: ack", "event: agent_thinking", "event: agent_completed"]
    assert service.cell.sockets() == 0


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        ("{", 400, "invalid_json"),
        (frame("dance"), 422, "unknown_type"),
        (frame("chat", payload={}), 422, "invalid_payload"),
        (frame("stop_agent"), 422, "invalid_payload"),
        (frame("chat", pad="x" * 9000), 413, "too_large"),
        (frame("chat", thread_id="other"), 403, "access_denied"),
    ],
)
async def test_a_refusal_has_a_status_of_its_own(
    service: Service, client: httpx.AsyncClient, content: str, status: int, code: str
) -> None:
    response = await client.post(service.messages, content=content)
    assert (response.status_code, response.json()["outcome"]) == (status, "error")
    assert [event["payload"]["code"] for event in response.json()["events"]] == [code]
    assert service.cell.sockets() == 0


async def test_a_ping_is_answered(service: Service, client: httpx.AsyncClient) -> None:
    response = await client.post(service.messages, content=frame("ping"))
    assert (response.status_code, response.json()["outcome"]) == (200, "pong")


async def test_the_limits_are_those_of_a_socket(service: Service, client: httpx.AsyncClient) -> None:
    statuses = [(await client.post(service.messages, content=frame())).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 200, 429]
    statuses = [(await client.post(service.messages, content="{")).status_code for _ in range(36)]
    assert set(statuses[:35]) == {400}
    assert statuses[35] == 429, "abuse is cut off without an answer of the session"


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_client_that_goes_away_cancels_its_message(service: Service, accept: str) -> None:
    worker = service.cell.v3
    async with httpx.AsyncClient(trust_env=False) as client:
        request = asyncio.create_task(
            client.post(service.messages, content=frame("chat", "patience"), headers={"accept": accept})
        )
        async with asyncio.timeout(PATIENCE_S):
            while not worker.runs:  # noqa: ASYNC110 - the server's turns are what is awaited
                await asyncio.sleep(0)
        worker.started()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_S):
        while not service.cell.told.ended_keys:  # noqa: ASYNC110 - the server's turns are what is awaited
            await asyncio.sleep(0)
    assert worker.held == {}
    assert [done.outcome for done in service.cell.done_with] == ["interrupted"]
