"""The gateway is stopped or killed: clients get 1012, and a resume token brings their sessions back."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sqlite3
import termios
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from app.serve.signals import AGAIN_S
from tests.logs import wrong_lines
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


@pytest.mark.parametrize("shutdown_s", ["0", "1"])
def test_a_planned_stop_ends_every_stream_itself_and_logs_no_error(start: Start, shutdown_s: str) -> None:
    """Open pages, the events of a message that runs on, `status --watch`, and readers that do not read."""
    service = start(CROSSFADE_SHUTDOWN_S=shutdown_s, CROSSFADE_FAULTS='{"v2": {"latency_ms": 60000}}')
    with ExitStack() as stack:
        watching = stack.enter_context(service.begin("status", "--watch"))
        assert watching.stdout is not None
        assert watching.stdout.readline()
        for address in ("/schema/openapi.json", "/changes"):
            stack.enter_context(deaf_reader(service, address))
        message = {"type": "chat", "payload": {"content": "hello"}}
        to_events = {"Accept": "text/event-stream"}
        events = stack.enter_context(
            service.http.stream("POST", "/api/messages?user=ada", json=message, headers=to_events)
        )
        lines = events.iter_lines()
        assert "event: ack" in next(lines)
        stream = stack.enter_context(service.http.stream("GET", "/changes", headers={"HX-Request": "true"}))
        pieces = stream.iter_text()
        assert next(pieces).startswith("data: ")
        service.signal(signal.SIGTERM)
        for _ in pieces:  # to its end; a stream that uvicorn cuts off is an error
            pass
        assert [line for line in lines if line.startswith("event")] == ["event: error"]
        assert service.ended() == 0
        assert watching.wait(30) == 3
    assert wrong_lines(service.log) == []


def test_a_second_ctrl_c_does_not_wait_for_messages(start: Start) -> None:
    service = start(CROSSFADE_SHUTDOWN_S="600", CROSSFADE_FAULTS='{"v2": {"latency_ms": 600000}}')
    with connect(f"{service.ws}?user=busy") as busy:
        ready(busy)
        busy.send(json.dumps({"type": "chat", "message_id": "m-1", "payload": {"content": "hello"}}))
        assert json.loads(busy.recv(timeout=10))["type"] == "ack"
        service.signal(signal.SIGINT)
        time.sleep(AGAIN_S + 0.1)  # a person's pause; a signal that is only said twice is the same stop
        service.signal(signal.SIGINT)
        assert events_until_terminal(lambda: busy.recv(timeout=30))[-1]["payload"]["code"] == "interrupted"
        assert closed_with(busy) == 1012
    assert service.ended() == 0
    assert wrong_lines(service.log) == []


def test_a_terminal_that_is_closed_tears_nothing(start: Start) -> None:
    """Its end sends SIGHUP, and from then on nothing can be written to it."""
    ours, theirs = os.openpty()
    service = start(terminal=theirs)
    os.close(theirs)
    assert service.code
    with connect(f"{service.ws}?user=ada") as client:
        ready(client)
        os.close(ours)
        service.signal(signal.SIGHUP)
        service.command("percentage", percentage=10)  # which is logged
        assert say(client, "still there?", "m-1")[-1]["type"] == "agent_completed"
        assert service.get("/healthz") == {"status": "ok"}
    service.signal(signal.SIGTERM)
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


@contextmanager
def deaf_reader(service: Running, address: str) -> Iterator[None]:
    """It asks again and again for the same, and reads nothing: the answers are more than the kernel keeps for it."""
    request = f"GET {address} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {service.http.headers['Authorization']}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as reader:
        reader.connect(str(service.folder / "data/run/a.sock"))
        waiting = array("i", [0])
        for _ in range(4):
            before = waiting[0]
            reader.sendall(f"{request}\r\n\r\n".encode())
            for _ in range(50):
                fcntl.ioctl(reader, termios.FIONREAD, waiting)
                if waiting[0] > before:
                    break
                time.sleep(0.02)
        assert waiting[0]
        yield


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
