"""A client written for the original service works unchanged, with its message names and its idea of the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.service.conftest import Running, Start

pytestmark = pytest.mark.slow

KNOWN = {
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_completed",
    "agent_stopped",
    "thread_history",
    "thread_switched",
    "pong",
    "error",
}


class OriginalClient:
    """It waits for the types it knows and reads the fields it knows; of whatever is new it sees nothing."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.threads: set[str] = set()

    def send(self, type: str, payload: dict[str, Any], **fields: Any) -> None:
        self._socket.send(json.dumps({"type": type, "payload": payload, "timestamp": 1700000000.0, **fields}))

    def until(self, *ending: str) -> list[tuple[str, dict[str, Any]]]:
        heard: list[tuple[str, dict[str, Any]]] = []
        while not heard or heard[-1][0] not in ending:
            event = json.loads(self._socket.recv(timeout=10))
            if event["type"] in KNOWN:
                self.threads.add(event["thread_id"])
                assert event["user_id"] == "grace"
                heard.append((event["type"], event["payload"]))
        return heard

    def types(self, *ending: str) -> list[str]:
        return [type for type, _ in self.until(*ending)]


def conversation(service: Running) -> None:
    """The original's day: chat under all its names, an agent with tools, history, another thread, a stop, a ping."""
    with connect(f"{service.ws}?user=grace") as socket:
        client = OriginalClient(socket)
        for name, field in (
            ("user_message", "content"),
            ("chat", "message"),
            ("user", "text"),
            ("message", "content"),
            ("chat_message", "message"),
        ):
            client.send(name, {field: f"hello as {name}", "references": []})
            heard = client.until("agent_completed", "error")
            assert [type for type, _ in heard] == ["agent_started", "agent_completed"], (name, heard)
            assert f"hello as {name}" in heard[-1][1]["content"]

        for name in ("start_agent", "execute_agent"):
            client.send(name, {"user_request": "Plan it. Then do it.", "agent": "outline", "settings": {"depth": 1}})
            heard = client.until("agent_completed", "error")
            types = [type for type, _ in heard]
            assert types[0] == "agent_started"
            assert types[-1] == "agent_completed"
            assert {"agent_thinking", "tool_executing", "tool_completed"} <= set(types)
            assert all("results" in payload for type, payload in heard if type == "tool_completed")

        client.send("get_thread_history", {"limit": 3})
        assert len(client.until("thread_history", "error")[-1][1]["exchanges"]) == 3
        (thread,) = client.threads
        client.send("switch_thread", {"thread_id": thread})
        assert client.types("thread_switched", "error") == ["thread_switched"]
        client.send("user_message", {"content": "in that thread"}, thread_id=thread)
        assert client.types("agent_completed", "error")[-1] == "agent_completed"
        client.send("stop_agent", {})
        assert client.until("error", "agent_stopped")[-1][1]["code"] == "invalid_payload"  # nothing runs
        client.send("ping", {})
        assert client.types("pong") == ["pong"]


@pytest.mark.parametrize("path", ["v2", "v3"])
def test_a_client_of_the_original_runs_unchanged_on_both_paths(start: Start, path: str) -> None:
    service = start(
        USE_WEBSOCKET_SUPERVISOR_V3="true" if path == "v3" else "false", CROSSFADE_RATE_MESSAGES_BURST="100"
    )
    conversation(service)
    messages = service.http.get("/metrics").text
    assert f'crossfade_messages_total{{cell="a",outcome="ok",path="{path}",transport="websocket"}} 10.0' in messages
