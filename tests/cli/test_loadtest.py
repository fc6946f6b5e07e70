"""`crossfade loadtest` against a real WebSocket server that keeps the contract, or breaks it on purpose."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from app.loadtest.options import LoadOptions
from app.loadtest.share import share_of
from ops.bench.processes import free_port
from rollout.names import PathName
from rollout.views import SessionView
from tests.cli.conftest import Run
from tests.cli.fake_service import view

Behaviour = Callable[[ServerConnection, str, int], bool]
"""What goes wrong before message `number` of a user is answered; True: it is not answered at all."""


def well(_socket: ServerConnection, _user: str, _number: int) -> bool:
    return False


def drops_first_user(socket: ServerConnection, user: str, _number: int) -> bool:
    if user.endswith("0"):
        socket.close(1012)
    return False


def forgets_first(_socket: ServerConnection, user: str, number: int) -> bool:
    return user.endswith("1") and number == 1


def interrupts_at_third(_socket: ServerConnection, _user: str, number: int) -> bool:
    if number == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return False


class TinyService:
    """The protocol's happy path, one thread a client."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._server: Server = serve(self._handle, "127.0.0.1", 0, compression=None)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(10)

    def _handle(self, client: ServerConnection) -> None:
        assert client.request is not None
        user = parse_qs(urlsplit(client.request.path).query)["user"][0]
        seq = 0

        def say(kind: str, payload: object, **fields: object) -> None:
            nonlocal seq
            seq += 1
            client.send(msgspec.json.encode({"type": kind, "seq": seq, "payload": payload, "user_id": user, **fields}))

        say("connection_ready", {"resume_token": "r", "recovered": False, "outcomes": []})
        try:
            for number, frame in enumerate(client, start=1):
                which: dict[str, object] = {"message_id": json.loads(frame)["message_id"], "number": number}
                say("ack", {}, **which)
                if not self._behaviour(client, user, number):
                    say("agent_started", {}, **which)
                    say("agent_completed", {"content": "hello"}, **which)
        except ConnectionClosed:
            return


@pytest.fixture
def tiny(request: pytest.FixtureRequest) -> Iterator[TinyService]:
    service = TinyService(getattr(request, "param", well))
    yield service
    service.stop()


def test_a_service_that_keeps_the_contract_passes(run: Run, tiny: TinyService) -> None:
    result = run(
        "loadtest", "--url", f"ws://127.0.0.1:{tiny.port}/ws", "--clients", "10", "--seconds", "0.5", "--rate", "20",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["clients"], report["connected"], report["drops"], report["broken_rules"]) == (10, 10, {}, {})
    assert report["sent"] == report["accepted"] == report["finished"] >= 50
    assert 0 < report["p50_ms"] <= report["p99_ms"]


@pytest.mark.parametrize("tiny", [drops_first_user], indirect=True)
def test_a_socket_closed_by_the_service_fails_the_test(run: Run, tiny: TinyService) -> None:
    result = run(
        "loadtest", "--url", f"ws://127.0.0.1:{tiny.port}/ws", "--clients", "3", "--seconds", "0.3", "--rate=9"
    )
    assert result.exit_code == 1
    assert "drops       1; 1012: 1" in result.stdout
    assert result.stdout.endswith("FAILED\n")


@pytest.mark.parametrize("tiny", [forgets_first], indirect=True)
def test_a_message_that_never_ends_fails_the_test(run: Run, tiny: TinyService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.loadtest.SETTLE_S", 1.5)  # long enough for all that do end, on a busy machine too
    result = run(
        "loadtest", "--url", f"ws://127.0.0.1:{tiny.port}/ws", "--clients", "3", "--seconds", "0.5", "--rate=4",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["broken_rules"] == {"exactly one terminal event": 1}
    (violation,) = report["violations"]
    assert violation["user_id"] == "load-00001"


@pytest.mark.parametrize("tiny", [interrupts_at_third], indirect=True)
def test_ctrl_c_ends_the_sending_and_prints_what_was_seen(run: Run, tiny: TinyService) -> None:
    result = run(
        "loadtest", "--url", f"ws://127.0.0.1:{tiny.port}/ws", "--clients", "1", "--seconds", "3600", "--rate=5",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["sent"] == report["finished"] == 3
    assert report["seconds"] < 60


def test_nobody_there_is_exit_3_and_a_wrong_url_exit_2(run: Run) -> None:
    port = free_port()
    result = run("loadtest", "--url", f"ws://127.0.0.1:{port}/ws", "--clients", "2", "--seconds", "0.1")
    assert result.exit_code == 3
    assert f"no client could connect to ws://127.0.0.1:{port}/ws" in result.stderr
    assert run("loadtest", "--url", "http://127.0.0.1:1/ws").exit_code == 2


def test_users_are_put_into_the_url_and_spread_over_addresses() -> None:
    options = LoadOptions(url="ws://127.0.0.1:1/ws", clients=5000, users="a b-")
    assert options.url_of(options.user(7)) == "ws://127.0.0.1:1/ws?user=a%20b-00007"
    assert LoadOptions(url="ws://h/{user}?x=1").url_of("u") == "ws://h/u?x=1"
    assert LoadOptions(url="ws://h/ws?thread=t").url_of("u") == "ws://h/ws?thread=t&user=u"
    assert {options.source_of(index) for index in range(5000)} == {(f"127.0.0.{n}", 0) for n in range(2, 22)}
    assert LoadOptions(clients=1000).source_of(3) is None
    assert LoadOptions(clients=5000, url="ws://example.org/ws").source_of(3) is None


def test_the_share_counts_users_of_this_test_that_nobody_pinned() -> None:
    def session(user: str, path: PathName, reason: str = "flag") -> SessionView:
        return SessionView(
            connection_id=user, user_id=user, path=path, reason=reason, state="idle", cell="a", connected_at=0.0,
            messages=0, queued=0, epoch=0,
        )  # fmt: skip

    sessions = [session("load-1", "v3"), session("load-2", "v2"), session("load-3", "v3", "pinned"), session("x", "v3")]
    share = share_of(LoadOptions(), view(percentage=25), sessions)
    assert (share.on_v3, share.users, share.expected) == (1, 2, 25.0)
    assert share_of(LoadOptions(), view(forced=True), sessions).expected == 100.0
    assert share_of(LoadOptions(), view(forced=False), sessions).expected == 0.0
