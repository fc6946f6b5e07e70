"""A service under a path: pages, redirects, cookies, API, sockets and commands, behind proxies of both kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from websockets.sync.client import connect

from tests.prefix_proxy import PrefixProxy, proxied
from tests.service.conftest import Running

ROOT = "/crossfade"
ADDRESS = re.compile(r'\b(?:href|src|action|formaction|hx-get|hx-post|data-(?:changes|worker|series|socket))="([^"#]*)')
UNASKED = (
    "/act/",
    "/sign-out",
    "/sign-in/token",
    "/notes",
    "/pins",
    "/plan/apply",
    "/plan/check",
    "/ws",
    "/changes",
    "/try/served",
)
"""Forms and streams: their addresses are looked at, and not followed."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("rooted"), {"CROSSFADE_ROOT_PATH": ROOT})
    running.start()
    yield running
    running.http.close()
    running.stop()


@pytest.fixture(scope="module", params=[True, False], ids=["removes the path", "passes the path on"])
def proxy(service: Running, request: pytest.FixtureRequest) -> Iterator[PrefixProxy]:
    with proxied(service.port, ROOT, strip=request.param) as running:
        yield running


def addresses(html: str) -> set[str]:
    return {unescape(found) for found in ADDRESS.findall(html)} - {""}


@pytest.mark.slow
def test_every_address_on_every_page_is_there_under_the_path(service: Running, proxy: PrefixProxy) -> None:
    token = service.http.headers["Authorization"].split()[1]
    with httpx.Client(base_url=f"http://{proxy.base}", follow_redirects=True, trust_env=False) as browser:
        form = browser.get("/plan")
        assert str(form.url) == f"http://{proxy.base}/sign-in?next=%2Fplan"
        found = re.search(r'name="_csrf_token" value="([0-9a-f]+)"', form.text)
        assert found
        sent = {"token": token, "_csrf_token": found[1], "next": "/plan"}
        [action] = [each for each in addresses(form.text) if each.endswith("/sign-in/token")]
        signed_in = browser.post(f"http://127.0.0.1:{proxy.port}{action}", data=sent)
        assert (signed_in.status_code, str(signed_in.url)) == (200, f"http://{proxy.base}/plan")
        assert {cookie.path for cookie in browser.cookies.jar} == {ROOT}
        todo, seen = {f"{ROOT}/", f"{ROOT}/users/ann", f"{ROOT}/nothing-there"}, set[str]()
        while todo:
            seen.add(address := todo.pop())
            answer = browser.get(f"http://127.0.0.1:{proxy.port}{address}")
            assert answer.status_code == (404 if "nothing-there" in address else 200), address
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            named = addresses(answer.text)
            assert all(each.startswith((f"{ROOT}/", "?")) for each in named), (address, named)
            here = {f"{address.partition('?')[0]}{each}" if each.startswith("?") else each for each in named}
            todo |= {each for each in here if not each.removeprefix(ROOT).startswith(UNASKED)} - seen
        assert {f"{ROOT}/{name}" for name in ("", "sessions", "plan", "history", "health", "try", "errors")} <= seen
        noted = browser.post("/notes", data={"text": "x", "_csrf_token": found[1], "back": "overview"})
        assert str(noted.url) == f"http://{proxy.base}/"
    assert proxy.missed == []


@pytest.mark.slow
def test_sockets_schema_and_commands_are_there_under_the_path(service: Running, proxy: PrefixProxy) -> None:
    with connect(f"ws://{proxy.base}/ws?user=ann", proxy=None) as socket:
        assert "connection_ready" in str(socket.recv(10))
    with httpx.Client(base_url=f"http://{proxy.base}", headers=service.http.headers, trust_env=False) as client:
        assert client.get("/schema/openapi.json").json()["servers"] == [{"url": ROOT}]
        assert client.get("/api/users/a%2Fb").json()["user_id"] == "a/b"
        with client.stream("GET", "/changes") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert next(stream.iter_lines())
    shown = service.crossfade("status", "--url", f"http://{proxy.base}/")
    assert (shown.returncode, shown.stderr) == (0, "")
    tried = service.crossfade("loadtest", "--url", f"ws://{proxy.base}/ws", "--clients", "1", "--seconds", "0.5")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert proxy.missed == []


@pytest.mark.slow
def test_the_link_that_is_printed_leads_into_the_path(service: Running) -> None:
    assert service.link.startswith(f"http://127.0.0.1:{service.port}{ROOT}/sign-in/once?code=")
    with httpx.Client(follow_redirects=True, trust_env=False) as browser:
        opened = browser.get(service.link)
        fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]+)"', opened.text))
        assert browser.post(service.link.partition("?")[0], data=fields).status_code == 200
        assert {cookie.path for cookie in browser.cookies.jar} == {ROOT}
