"""A real service at its bounds: what anybody can send or leave open, and an operator beside it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.service.conftest import Running, Start

pytestmark = pytest.mark.slow

PATIENCE_S = 20.0
FORM = "application/x-www-form-urlencoded"


@contextlib.contextmanager
def raw(service: Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as made:
        yield made


def said(connection: socket.socket) -> bytes:
    """All that the service says until it closes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65_536):
            data += piece
    return data


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
        return False
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_a_form_of_nine_megabytes_at_the_sign_in_is_refused(unchanged: Running) -> None:
    with httpx.Client(base_url=unchanged.http.base_url, timeout=PATIENCE_S, trust_env=False) as browser:
        for path in ("/sign-in/token", "/sign-out"):
            answer = browser.post(path, content=b"a&" * 4_900_000, headers={"Content-Type": FORM})
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert browser.post("/plan/apply", content=b"a&" * 2000, headers={"Content-Type": FORM}).status_code == 303


def test_a_message_over_its_bound_is_refused_before_its_body(unchanged: Running) -> None:
    with raw(unchanged) as client:
        client.sendall(b"POST /api/messages?user=ann HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000\r\n\r\n")
        head, _, body = said(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["events"][0]["payload"]["code"] == "too_large"


def test_ws_without_an_upgrade_says_that_it_needs_one(unchanged: Running) -> None:
    answer = unchanged.http.get("/ws?user=ann")
    assert (answer.status_code, answer.headers["upgrade"], answer.json()["status"]) == (426, "websocket", 426)
    assert unchanged.http.head("/ws").status_code == 426


def test_a_handshake_may_be_as_large_as_any_request(unchanged: Running) -> None:
    with connect(f"{unchanged.ws}?user=large", additional_headers={"X-Large": "x" * 9216}) as client:
        assert json.loads(client.recv())["type"] == "connection_ready"
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"{unchanged.ws}?user=large", additional_headers={"X-Large": "x" * 16_384})
    assert refusal.value.response.status_code == 431


def test_a_rollback_with_an_upgrade_to_http_2_keeps_its_reason(start: Start) -> None:
    service = start()
    service.command("start", percentage=10)
    body = json.dumps({"reason": "told by a proxy"})
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
    answer = service.http.post(
        "/api/rollout/rollback", content=body, headers={"Content-Type": "application/json", **upgrade}
    )
    assert answer.status_code == 200
    assert service.get("/api/rollout/events")["items"][0]["reason"] == "told by a proxy"


def test_at_the_descriptor_limit_an_operator_rolls_back(start: Start) -> None:
    """260 descriptors: 65 for clients, 33 of them sockets."""
    service = start(descriptors=260, CROSSFADE_CONNECTIONS_PER_USER="100", CROSSFADE_REQUEST_S="60")
    service.command("start", percentage=50)
    with contextlib.ExitStack() as stack:
        sockets = []
        with pytest.raises(InvalidStatus) as refusal:
            for _ in range(40):
                sockets.append(stack.enter_context(connect(f"{service.ws}?user=ann", open_timeout=PATIENCE_S)))
        assert (refusal.value.response.status_code, len(sockets)) == (503, 33)
        silent = [stack.enter_context(raw(service)) for _ in range(150)]
        half = [stack.enter_context(raw(service)) for _ in range(150)]
        for each in half:
            with contextlib.suppress(ConnectionError):
                each.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\n")
        done = service.crossfade("rollback", "--reason", "full")
        assert done.returncode == 0, done.stderr
        assert sum(map(is_open, silent + half)) <= 32
        for client in sockets:
            assert client.ping().wait(PATIENCE_S)


def test_silent_connections_end(start: Start) -> None:
    service = start(CROSSFADE_KEEP_ALIVE_S="4", CROSSFADE_REQUEST_S="1")
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(raw(service)) for _ in range(100)]
        half = stack.enter_context(raw(service))
        half.sendall(b"GET /ws HTTP/1.1\r\n")
        assert said(half).startswith(b"HTTP/1.1 408 ")
        closed = [each for each in silent[:36] if said(each) == b""]
        assert len(closed) == 36
        assert any(map(is_open, silent[36:])), "64 of an address may be silent for longer"
        for each in silent[36:]:
            each.setblocking(True)
            assert said(each) == b""
