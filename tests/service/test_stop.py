"""The gateway is stopped or killed: clients get 1012, and a resume token brings their sessions back."""

from __future__ import annotations

import json
import signal
import sqlite3
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.service.conftest import Running, Start, events_until_terminal

pytestmark = pytest.mark.slow


def ready(socket: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(socket.recv(timeout=10))
    assert event["type"] == "connection_ready"
    payload: dict[str, Any] = event["payload"]
    return payload


def say(socket: ClientConnection, words: str, message_id: str) -> list[dict[str, Any]]:
    socket.send(json.dumps({"type": "chat", "message_id": message_id, "payload": {"content": words}}))
    return events_until_terminal(lambda: socket.recv(timeout=10))


def history(socket: ClientConnection) -> list[str]:
    socket.send(json.dumps({"type": "get_thread_history"}))
    events = events_until_terminal(lambda: socket.recv(timeout=10))
    return [exchange["content"] for exchange in events[-1]["payload"]["exchanges"]]


def closed_with(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket.recv(timeout=20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_a_planned_stop_lets_running_messages_finish_and_closes_1012(start: Start) -> None:
    service = start(CROSSFADE_FAULTS='{"v2": {"latency_ms": 400}}', CROSSFADE_SHUTDOWN_S="5")
    with connect(f"{service.ws}?user=busy") as busy, connect(f"{service.ws}?user=idle") as idle:
        ready(busy), ready(idle)
        busy.send(json.dumps({"type": "chat", "message_id": "m-1", "payload": {"content": "hello"}}))
        assert json.loads(busy.recv(timeout=10))["type"] == "ack"
        service.signal(signal.SIGTERM)
        assert [event["type"] for event in events_until_terminal(lambda: busy.recv(timeout=10))][
            -1
        ] == "agent_completed"
        assert closed_with(busy) == 1012
        assert closed_with(idle) == 1012
    assert service.ended() == 0


def test_a_planned_stop_ends_the_streams_of_open_pages_itself(start: Start) -> None:
    service = start(CROSSFADE_SHUTDOWN_S="0")
    with service.http.stream("GET", "/changes", headers={"HX-Request": "true"}) as stream:
        assert stream.status_code == 200
        pieces = stream.iter_text()
        assert next(pieces).startswith("data: ")
        service.signal(signal.SIGTERM)
        for _ in pieces:  # to its end; a stream that uvicorn cuts off is an error
            pass
    assert service.ended() == 0


@pytest.mark.parametrize(("how", "recovered"), [(signal.SIGTERM, True), (signal.SIGKILL, "stale")])
def test_a_client_comes_back_with_its_token_after_a_restart(
    start: Start, how: signal.Signals, recovered: object
) -> None:
    service = start()
    with connect(f"{service.ws}?user=ada") as socket:
        token = ready(socket)["resume_token"]
        say(socket, "first", "m-1")
        if how is signal.SIGKILL:
            written(service)
        service.signal(how)
        closed_or_cut(socket)
    service.ended()
    service.start()
    with connect(f"{service.ws}?user=ada&resume={token}") as socket:
        payload = ready(socket)
        assert payload["recovered"] == recovered
        assert payload["outcomes"] == [["m-1", "agent_completed"]]
        assert history(socket) == ["first"]
        again = say(socket, "first", "m-1")
        assert again[-1]["payload"]["code"] == "duplicate"
    with connect(f"{service.ws}?user=ada&resume={token}") as socket:
        assert ready(socket)["recovered"] is False  # good once


def test_a_token_of_somebody_else_recovers_nothing(unchanged: Running) -> None:
    service = unchanged
    with connect(f"{service.ws}?user=ada") as socket:
        token = ready(socket)["resume_token"]
        say(socket, "secret", "m-1")
    with connect(f"{service.ws}?user=eve&resume={token}") as socket:
        payload = ready(socket)
        assert (payload["recovered"], payload["outcomes"]) == (False, [])
        assert history(socket) == []


def closed_or_cut(socket: ClientConnection) -> None:
    with pytest.raises(ConnectionClosed):
        while True:
            socket.recv(timeout=20)


def written(service: Running) -> None:
    """Wait until the write-behind has the session."""
    file = service.folder / "data" / "sessions.db"
    with sqlite3.connect(file) as database:
        while database.execute("select count(*) from resumes").fetchone()[0] == 0:
            service.http.get("/healthz")
