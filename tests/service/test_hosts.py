"""A service without sign-in cannot be called under a stranger's name: not its pages, its API or its sockets."""

from __future__ import annotations

import socket

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.service.conftest import Running

CALLS = [("GET", path) for path in ("/", "/sign-in", "/api/rollout", "/healthz", "/schema", "/static/crossfade.css")]


@pytest.mark.slow
def test_pages_api_and_sockets_refuse_an_unknown_name_alike(unchanged: Running) -> None:
    for method, path in [*CALLS, ("POST", "/api/messages?user=ann"), ("POST", "/api/rollout/rollback")]:
        answer = unchanged.http.request(method, path, headers={"Host": f"evil.example:{unchanged.port}"})
        assert (answer.status_code, answer.json()["type"]) == (421, "urn:crossfade:unknown_host"), path
        assert "CROSSFADE_HOSTS" in answer.json()["detail"]
    with pytest.raises(InvalidStatus) as refused:
        there = socket.create_connection(("127.0.0.1", unchanged.port))
        connect("ws://evil.example/ws?user=ann", sock=there, proxy=None)
    assert refused.value.response.status_code == 421
    assert b"CROSSFADE_HOSTS" in (refused.value.response.body or b"")


@pytest.mark.slow
def test_pages_api_and_sockets_know_every_name_of_loopback(unchanged: Running) -> None:
    for name in (f"localhost:{unchanged.port}", "app.localhost", "[::1]"):
        assert unchanged.http.get("/api/rollout", headers={"Host": name}).status_code == 200
    with connect(f"ws://localhost:{unchanged.port}/ws?user=hosts", proxy=None) as client:
        assert "connection_ready" in str(client.recv(10))
    own = {"Origin": f"http://127.0.0.1:{unchanged.port}"}
    with connect(f"{unchanged.ws}?user=hosts", additional_headers=own, proxy=None) as client:
        assert "connection_ready" in str(client.recv(10))
