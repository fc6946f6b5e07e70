"""Fetching a published key set from real servers: every way in which they misbehave ends soon, and says how."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.gateway.key_set_fetch import MOST_BYTES, FetchFailed, KeySetFetch, proxy_for
from tests.gateway.issuer import Answer, Issuer, answer_of, issuer
from tests.gateway.serving import PATIENCE_S

SHORT_S = 0.2
"""What a server is given that never answers."""


@pytest.fixture
async def server() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


async def reason(url: str, limit_s: float = PATIENCE_S) -> str:
    """Why it failed."""
    with pytest.raises(FetchFailed) as failed:
        await KeySetFetch(url)(limit_s)
    return str(failed.value)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    while True:
        writer.write(chunk)
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that no single read takes long."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: and more\r\n")
        await writer.drain()
        await asyncio.sleep(SHORT_S / 10)


async def hanging(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()


async def test_the_body_is_given_and_the_address_asked_as_it_stands(server: Issuer) -> None:
    server.answer = answer_of(200, b"anything")
    assert await KeySetFetch(server.url)(PATIENCE_S) == b"anything"
    [request] = server.requests
    assert request.startswith(b"GET /keys?v=1 HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}\r\n".encode() in request
    assert b"accept-encoding: identity\r\n" in request


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answer_of(503, b"busy"), "status 503"),
        (answer_of(302, b"", "Location: http://127.0.0.1:1/"), "redirects are not followed"),
        (answer_of(404, b"no"), "status 404"),
        (answer_of(200, bytes(MOST_BYTES + 1)), f"longer than {MOST_BYTES} bytes"),
        (endless, f"longer than {MOST_BYTES} bytes"),
        (cut, "closed"),
    ],
    ids=["503", "redirect", "404", "long", "endless", "cut"],
)
async def test_what_is_no_answer_is_named(server: Issuer, answer: Answer, said: str) -> None:
    server.answer = answer
    assert said in await reason(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [hanging, dripping])
async def test_no_server_takes_longer_than_the_limit(server: Issuer, answer: Answer) -> None:
    server.answer = answer
    assert await reason(server.url, SHORT_S) == "no answer within 0.2 s"


async def test_an_address_that_refuses_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await reason(f"http://127.0.0.1:{port}/") == f"127.0.0.1 cannot be reached at port {port}"


async def test_plain_text_is_no_tls(server: Issuer) -> None:
    server.answer = answer_of(200, b"")
    said = await reason(server.url.replace("http:", "https:"), SHORT_S)
    assert said == "no answer within 0.2 s", "this server waits for more"


async def test_a_name_server_that_hangs_holds_up_no_thread_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookup stays in its own thread; with the event loop's it would hold up a lookup or a file of others."""
    released, threads = threading.Event(), list[str]()

    def hang(*_: Any, **__: Any) -> list[Any]:
        threads.append(threading.current_thread().name)
        released.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert await reason("http://issuer.example/keys", SHORT_S) == "no answer within 0.2 s"
    finally:
        released.set()
    assert threads == ["name-lookup"]


@pytest.mark.parametrize(
    ("host", "proxy"),
    [
        ("127.0.0.1", ""),
        ("localhost", ""),
        ("::1", ""),
        ("inside.example", ""),
        ("issuer.example", "http://proxy.example:3128"),
    ],
)
def test_a_proxy_is_used_but_never_for_loopback(monkeypatch: pytest.MonkeyPatch, host: str, proxy: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for("http", host) == proxy


async def test_a_proxy_is_asked_for_the_whole_address(server: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{server.port}")
    server.answer = answer_of(200, b"by proxy")
    assert await KeySetFetch("http://issuer.example/keys")(PATIENCE_S) == b"by proxy"
    [request] = server.requests
    assert request.startswith(b"GET http://issuer.example/keys HTTP/1.1\r\n")
    assert b"proxy-authorization: basic " in request.lower()
    monkeypatch.setenv("http_proxy", "socks9://127.0.0.1:1")
    assert "ValueError" in await reason("http://issuer.example/keys")
