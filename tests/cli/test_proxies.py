"""A proxy in the environment gets nothing of what is for this machine, and one that cannot be used is one line."""

from __future__ import annotations

import ast
import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.loadtest.options import LoadOptions
from app.loadtest.share import ask_share
from app.proxies import may_use_proxy, proxy_variables
from ops.bench.processes import free_port
from tests.cli.conftest import Run
from tests.cli.fake_service import FakeService, view

ROOT = Path(__file__).parents[2]
TOKEN = "cf_secret"


class Proxy:
    """A TCP server that keeps what arrives, answers 502 and closes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.arrived: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            with connected:
                self.arrived.append(connected.recv(65_536))
                connected.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """It is what every variable names, and nothing is exempt from it."""
    proxy = Proxy()
    set_proxies(monkeypatch, proxy.url)
    yield proxy
    proxy.close()


def set_proxies(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_commands_to_this_machine_pass_the_proxy_by(run: Run, service: FakeService, proxy: Proxy, host: str) -> None:
    service.canned.answer("GET", "/api/rollout", (200, view()))
    port = urlsplit(service.url).port
    for words in (("status",), ("rollback",)):
        run(*words, "--url", f"http://{host}:{port}", CROSSFADE_TOKEN=TOKEN)
    assert proxy.arrived == []
    assert service.canned.seen[0].authorization == f"Bearer {TOKEN}"


@pytest.mark.parametrize("host", ["[::1]", "[::ffff:127.0.0.1]", "127.1.2.3", "0.0.0.0", "a.localhost"])
def test_nothing_for_this_machine_reaches_the_proxy_even_if_nobody_listens(run: Run, proxy: Proxy, host: str) -> None:
    result = run("status", "--url", f"http://{host}:{free_port()}", CROSSFADE_TOKEN=TOKEN)
    assert result.exit_code == 3
    assert proxy.arrived == []


def test_the_load_test_asks_for_its_share_past_the_proxy(service: FakeService, proxy: Proxy) -> None:
    service.canned.answer("GET", "/api/rollout", (200, view()))
    service.canned.answer("GET", "/api/sessions", (200, []))
    assert asyncio.run(ask_share(service.url, TOKEN, LoadOptions(url="ws://x/ws"))) is not None
    assert proxy.arrived == []


def test_what_is_elsewhere_goes_through_it_unless_it_is_exempt(
    run: Run, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("status", "--url", "http://crossfade.invalid", CROSSFADE_TOKEN=TOKEN)
    assert result.exit_code == 3
    assert b"GET http://crossfade.invalid/api/rollout" in proxy.arrived[0]
    monkeypatch.setenv("no_proxy", "crossfade.invalid")
    assert run("status", "--url", "http://crossfade.invalid", CROSSFADE_TOKEN=TOKEN).exit_code == 3
    assert len(proxy.arrived) == 1


@pytest.mark.parametrize(
    "value", ["garbage", "ftp://proxy", "socks5://127.0.0.1:1", "http://[", "://", "http://127.0.0.1:1"]
)
def test_a_proxy_that_cannot_be_used_is_one_line_that_names_the_variable(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    set_proxies(monkeypatch, value)
    result = run("status", "--url", "http://crossfade.invalid", CROSSFADE_TOKEN=TOKEN)
    assert result.exit_code in (2, 3)
    assert "HTTP_PROXY" in result.stderr
    assert result.stderr.count("\n") == 1
    service.canned.answer("GET", "/api/rollout", (200, view()))
    assert run("status", "--url", service.url, CROSSFADE_TOKEN=TOKEN).exit_code == 0
    assert asyncio.run(ask_share("http://crossfade.invalid", TOKEN, LoadOptions(url="ws://x/ws"))) is None


def test_which_hosts_are_this_machine_and_which_variables_name_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert [may_use_proxy(f"https://{host}/x") for host in ("10.0.0.1", "example.org", "[2001:db8::1]")] == [True] * 3
    assert proxy_variables({"HTTP_PROXY": "http://user:secret@x", "all_proxy": "y"}) == "HTTP_PROXY, all_proxy"
    assert proxy_variables({"HTTP_PROXY": ""}) == ""


def test_every_http_client_of_ours_says_whether_it_heeds_the_environment() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("app", "dashboards", "ops", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if "httpx" in (text := path.read_text("utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("httpx.Client", "httpx.AsyncClient", "httpx.get", "httpx.post", "httpx.stream")
        and not {"trust_env", "transport"} & {keyword.arg for keyword in node.keywords}
    ]
    assert silent == []
