"""Whatever a client sends gets its documented answer, without a number or internal details, and the service stays
healthy.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.service.conftest import Running, Start, events_until_terminal

pytestmark = pytest.mark.slow


def message(**fields: Any) -> str:
    return json.dumps({"type": "user_message", "payload": {"content": "hello"}, **fields})


REFUSED: list[tuple[str, str | bytes, str]] = [
    ("empty text", "", "invalid_json"),
    ("not JSON", "hello", "invalid_json"),
    ("half an object", '{"type": "ping"', "invalid_json"),
    ("two objects", '{"type":"ping"}{"type":"ping"}', "invalid_json"),
    ("binary frame", b'{"type": "ping"}', "invalid_json"),
    ("nested too deep", '{"a":' * 1600, "invalid_json"),
    ("a list", "[]", "invalid_payload"),
    ("a number", "7", "invalid_payload"),
    ("no type", "{}", "unknown_type"),
    ("unknown type", message(type="nope"), "unknown_type"),
    ("type is a number", message(type=7), "unknown_type"),
    ("type of another message kind", message(type="agent_completed"), "unknown_type"),
    ("no payload", '{"type": "user_message"}', "invalid_payload"),
    ("payload is text", message(payload="hello"), "invalid_payload"),
    ("no content", message(payload={}), "invalid_payload"),
    ("empty content", message(payload={"content": ""}), "invalid_payload"),
    ("content is null", message(payload={"content": None}), "invalid_payload"),
    ("content is a number", message(payload={"content": 7}), "invalid_payload"),
    ("4,001 characters", message(payload={"content": "x" * 4001}), "invalid_payload"),
    ("empty message_id", message(message_id=""), "invalid_payload"),
    ("message_id is a number", message(message_id=7), "invalid_payload"),
    ("message_id of 129 characters", message(message_id="x" * 129), "invalid_payload"),
    ("start_agent without a request", message(type="start_agent", payload={}), "invalid_payload"),
    ("history limit 0", message(type="get_thread_history", payload={"limit": 0}), "invalid_payload"),
    ("history limit as text", message(type="get_thread_history", payload={"limit": "many"}), "invalid_payload"),
    ("switch_thread without a thread", message(type="switch_thread", payload={}), "invalid_payload"),
    ("somebody else's thread", message(thread_id="t-0000-0000"), "access_denied"),
    ("switch to somebody else's", message(type="switch_thread", payload={"thread_id": "t-1"}), "access_denied"),
    ("nothing to stop", message(type="stop_agent", payload={}), "invalid_payload"),
    ("8,193 bytes", message(payload={"content": "ä" * 3990, "padding": "x" * 300}), "too_large"),
]


def rejected(service: Running) -> float:
    """Messages of sockets that were refused so far."""
    labels = 'outcome="rejected",path="v2",transport="websocket"} '
    lines = service.http.get("/metrics").text.splitlines()
    return sum(float(line.partition(labels)[2]) for line in lines if labels in line)


def test_every_kind_of_bad_input_gets_its_answer_and_the_service_stays_healthy(unchanged: Running) -> None:
    service, before = unchanged, rejected(unchanged)
    with connect(f"{service.ws}?user=ada") as socket:
        assert json.loads(socket.recv())["type"] == "connection_ready"
        for name, frame, code in REFUSED:
            socket.send(frame)
            event = json.loads(socket.recv(timeout=10))
            assert (event["type"], event["payload"]["code"]) == ("error", code), (name, event)
            assert "number" not in event
            assert not re.search(r"v2|v3|Traceback|\.py|SELECT", event["payload"]["message"]), name
            assert event["payload"]["reference"]
        socket.send(message(message_id="good"))
        assert [event["type"] for event in events_until_terminal(socket.recv)] == [
            "ack",
            "agent_started",
            "agent_completed",
        ]
        socket.send(message(message_id="good"))
        again = json.loads(socket.recv())
        assert (again["payload"]["code"], again["payload"]["outcome"]) == ("duplicate", "agent_completed")
    assert service.http.get("/readyz").status_code == 200
    assert rejected(service) == before + len(REFUSED) + 1


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("?user=", {}, 401),
        ("?user=" + "x" * 257, {}, 401),
        ("?user=a%00b", {}, 401),
        ("?user=ada&thread=t-of-somebody", {}, 403),
        ("?user=ada", {"Origin": "https://elsewhere.example"}, 403),
    ],
)
def test_who_may_not_come_in_is_told_so_before_the_upgrade(
    unchanged: Running, query: str, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(unchanged.ws + query, additional_headers=headers)
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"{}")["detail"]


def test_too_many_connections_and_too_many_messages_are_refused_and_nothing_is_lost(start: Start) -> None:
    service = start(CROSSFADE_CONNECTIONS_PER_USER="2", CROSSFADE_RATE_MESSAGES_BURST="3")
    with connect(f"{service.ws}?user=ada") as socket, connect(f"{service.ws}?user=ada"):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{service.ws}?user=ada")
        assert refused.value.response.status_code == 429
        assert json.loads(socket.recv())["type"] == "connection_ready"
        for _ in range(5):
            socket.send(message())
        terminals = limited = 0
        while terminals + limited < 5:
            event = json.loads(socket.recv(timeout=10))
            terminals += event["type"] == "agent_completed"
            limited += event["type"] == "error" and event["payload"]["code"] == "rate_limited"
        assert (terminals, limited) == (3, 2)


def test_a_frame_far_too_big_closes_1009(unchanged: Running) -> None:
    with connect(f"{unchanged.ws}?user=ada") as socket:
        socket.recv()
        socket.send(message(payload={"content": "x" * 100_000}))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    assert unchanged.http.get("/healthz").status_code == 200


HTTP: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"{", 400),
    (b"[]", 422),
    (message(type="nope").encode(), 422),
    (message(payload={}).encode(), 422),
    (message(thread_id="t-1").encode(), 403),
    (b" " * 9000, 413),
]


def test_http_messages_are_checked_alike(unchanged: Running) -> None:
    service = unchanged
    for body, status in HTTP:
        answer = service.http.post("/api/messages", params={"user": "ada"}, content=body)
        assert answer.status_code == status, (body[:40], answer.text)
        assert answer.json()["outcome"] == "error"
    assert service.http.post("/api/messages", content=message()).status_code == 401
    good = service.http.post("/api/messages", params={"user": "ada"}, content=message())
    assert [event["type"] for event in good.json()["events"]] == ["ack", "agent_started", "agent_completed"]


COMMANDS: list[tuple[str, object, dict[str, str], int]] = [
    ("percentage", {"percentage": 101}, {"If-Match": '"0"'}, 422),
    ("percentage", {"percentage": -1}, {"If-Match": '"0"'}, 422),
    ("percentage", {"percentage": 10.5}, {"If-Match": '"0"'}, 422),
    ("percentage", {"percentage": "ten"}, {"If-Match": '"0"'}, 422),
    ("percentage", {}, {"If-Match": '"0"'}, 422),
    ("percentage", {"percentage": 10}, {}, 428),
    ("percentage", {"percentage": 10}, {"If-Match": '"7"'}, 412),
    ("percentage", {"percentage": 10}, {"If-Match": "seven"}, 422),
    ("percentage", {"percentage": 10, "reasn": "typo"}, {"If-Match": '"0"'}, 422),
    ("pause", {}, {"If-Match": '"0"'}, 409),
    ("unlock", {"reason": "x"}, {"If-Match": '"0"'}, 409),
]


def test_commands_are_checked_and_change_nothing_when_refused(unchanged: Running) -> None:
    service = unchanged
    before = service.get("/api/rollout")
    for verb, body, headers, status in COMMANDS:
        answer = service.http.post(f"/api/rollout/{verb}", json=body, headers=headers)
        assert answer.status_code == status or (headers.get("If-Match") == "seven" and answer.status_code == 400), (
            verb,
            body,
            answer.text,
        )
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.json()["detail"]
    after = service.get("/api/rollout")
    assert (after["revision"], after["phase"]) == (before["revision"], before["phase"])
