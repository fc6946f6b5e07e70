"""The commands of a service's own host reach it by its Unix socket: when TCP is full, and when it is elsewhere."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from ops.bench.processes import free_port
from tests.service.conftest import Running, Start

pytestmark = pytest.mark.slow

DESCRIPTORS = 320


def local(service: Running) -> httpx.Client:
    """A client of its socket, without a token."""
    file = service.folder / "data" / "run" / "a.sock"
    return httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(file)), timeout=30)


@contextmanager
def idle_connections(service: Running, count: int) -> Iterator[None]:
    """So many TCP connections that say nothing."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        yield


def test_a_rollback_is_done_while_tcp_has_no_descriptor_left(start: Start) -> None:
    service = start(descriptors=DESCRIPTORS)
    with idle_connections(service, DESCRIPTORS):
        done = service.crossfade("rollback", "--reason", "full")
        assert done.returncode == 0, done.stderr
        assert "Rollback verified" in done.stdout
        assert "cli this host" in service.crossfade("events").stdout


def test_the_socket_is_preferred_replaced_after_a_kill_and_gone_after_a_stop(start: Start) -> None:
    service = start()
    file = service.folder / "data" / "run" / "a.sock"
    tcp = service.environ["CROSSFADE_BIND"]
    service.environ["CROSSFADE_BIND"] = f"127.0.0.1:{free_port()}"  # nobody listens there
    assert service.crossfade("status").returncode == 0
    service.environ["CROSSFADE_URL"] = f"http://127.0.0.1:{free_port()}"  # who names a service means that one
    assert service.crossfade("status").returncode == 3
    del service.environ["CROSSFADE_URL"]

    service.signal(signal.SIGKILL)
    service.ended()
    assert file.exists()
    assert service.crossfade("status").returncode == 3
    service.environ["CROSSFADE_BIND"] = tcp
    service.start()
    assert service.crossfade("status").returncode == 0

    file.unlink()  # no socket, so TCP
    assert service.crossfade("status").returncode == 0
    service.stop()
    assert not file.exists()


def test_a_token_is_asked_for_and_no_websocket_is_served_there(unchanged: Running) -> None:
    with local(unchanged) as http:
        assert http.get("/healthz").status_code == 200
        assert http.get("/api/rollout").status_code == 401
        token = (unchanged.folder / "data" / "operator.token").read_text().strip()
        assert http.get("/api/rollout", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        upgrade = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        assert http.get("/ws?user=ada", headers=upgrade).status_code in (400, 404, 405, 426)
    folder = unchanged.folder / "data" / "run"
    assert (folder.stat().st_mode & 0o777, (folder / "a.sock").stat().st_mode & 0o777) == (0o700, 0o600)
