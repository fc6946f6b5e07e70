"""Requests on real sockets and both event loops: what is refused, and how; what waits, and for how long."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

import pytest
import websockets
from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.datastructures import State
from litestar.response import Stream
from websockets.asyncio.client import connect

from app.api.http_rules import with_http_rules
from app.gateway.connection import EXTENSION
from app.gateway.connection_registry import HTTP_ROOM, ConnectionLimits
from app.gateway.http_connection import HttpConnection
from app.gateway.request_head import HEAD_BYTES
from tests.gateway.serving import PATIENCE_S, Serving, handshake, serve, text
from tests.gateway.test_connection import Inbox

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 4096
"""Of a body at /echo."""


class Watched(HttpConnection):
    """Remembers the most that any of them kept after it had looked at what came."""

    most_kept: ClassVar[int]
    changed: ClassVar[asyncio.Event]
    all: ClassVar[set[Watched]]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.all.add(self)
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.all.discard(self)
        self.changed.set()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.changed.set()
        Watched.most_kept = max(Watched.most_kept, self._reader.buffered_bytes)


class Client:
    """Sends bytes as they are, and hears what the server said before it cut the connection."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.was_reset = False
        self._heard = bytearray()
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def flood(self, more: bytes) -> None:
        """Send more and more until the server has cut the connection; 16 MB at the most."""
        piece = more * (65_536 // len(more))
        try:
            for _ in range(256):
                await self.send(piece)
        except ConnectionError:
            return
        pytest.fail("the server reads on")

    async def head(self) -> bytes:
        """The next answer until its body."""
        while b"\r\n\r\n" not in self._heard:
            assert await self._hear(), bytes(self._heard)
        return self._take(self._heard.index(b"\r\n\r\n") + 4)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer, which says how long it is."""
        head = await self.head()
        lines = head.lower().split(b"\r\n")
        length = int(next(line for line in lines if line.startswith(b"content-length:")).partition(b":")[2])
        while len(self._heard) < length:
            assert await self._hear(), bytes(self._heard)
        return int(head.split()[1]), self._take(length)

    async def rest(self) -> bytes:
        """All there is until the server closes."""
        while await self._hear():
            pass
        return self._take(len(self._heard))

    async def refused(self) -> int:
        """The status of an answer, after which the server closes."""
        status, _ = await self.answer()
        assert await self.rest() == b""
        return status

    async def _hear(self) -> bool:
        try:
            data = await asyncio.wait_for(self._loop.sock_recv(self.socket, 65_536), PATIENCE_S)
        except ConnectionError:
            self.was_reset, data = True, b""
        self._heard += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        data = bytes(self._heard[:size])
        del self._heard[:size]
        return data


@asynccontextmanager
async def connected(family: socket.AddressFamily, address: tuple[str, int] | str) -> AsyncIterator[Client]:
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
        yield Client(made)


@dataclass
class World:
    """A server with a small application, and what a test sees of it from within."""

    inboxes: asyncio.Queue[Inbox]
    begun: asyncio.Event
    """/wait was asked for, and is not answered before `let_go`."""
    let_go: asyncio.Event
    asked: list[str]
    server: Serving = field(init=False)

    def client(self) -> AbstractAsyncContextManager[Client]:
        return connected(socket.AF_INET, ("127.0.0.1", self.server.port))

    async def emptied(self, connections: int = 0) -> None:
        """Until so many connections are left."""
        async with asyncio.timeout(PATIENCE_S):
            while self.server.registry.connections != connections:
                Watched.changed.clear()
                await Watched.changed.wait()

    async def paused(self) -> None:
        """Until a client is not read from."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(each.flow.read_paused for each in Watched.all):
                Watched.changed.clear()
                await Watched.changed.wait()


def application(world: World) -> Litestar:
    @get("/")
    async def hello() -> bytes:
        return b"hello"

    @get("/wait")
    async def wait() -> bytes:
        world.asked.append("wait")
        world.begun.set()
        await world.let_go.wait()
        return b"waited"

    @get("/next")
    async def following() -> bytes:
        world.asked.append("next")
        return b"next"

    @post("/echo", status_code=200, request_max_body_size=LIMIT)
    async def echo(request: Request[Any, Any, State]) -> bytes:
        return await request.body()

    @post("/unread", status_code=200)
    async def unread() -> bytes:
        return b"unread"

    @get("/endless")
    async def endless() -> Stream:
        return Stream(repeat(b"x" * 65_536))

    @websocket("/ws")
    async def handler(socket: WebSocket[Any, Any, State]) -> None:
        await socket.receive()
        accept: Any = {"type": "websocket.accept", "subprotocol": None, "headers": []}
        await socket.send(accept)
        extensions: Any = socket.scope["extensions"]
        inbox = Inbox(extensions[EXTENSION])
        inbox.socket.attach(inbox)
        world.inboxes.put_nowait(inbox)

    app = Litestar([hello, wait, following, echo, unread, endless, handler], openapi_config=None)
    app.asgi_handler = with_http_rules(app.asgi_handler)
    return app


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[World]:
    Watched.most_kept, Watched.changed, Watched.all = 0, asyncio.Event(), set()
    world = World(asyncio.Queue(), asyncio.Event(), asyncio.Event(), [])
    async with serve(application(world), http=Watched, limits=ConnectionLimits(**limits)) as server:
        world.server = server
        yield world
        world.let_go.set()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with served() as made:
        yield made


# -- what is refused --------------------------------------------------------------------------------------------------

ENDLESS = {
    "a request line": (b"GET /", b"x", 414),
    "a header": (GET + b"A: ", b"x", 431),
    "header lines": (GET, b"a: b\r\n", 431),
    "a chunk's extension": (CHUNKED + b"5;", b"x", 400),
    "chunks of a byte": (CHUNKED, b"1\r\nx\r\n", 400),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n", 431),
    "a body": (CHUNKED, b"1000\r\n" + b"x" * 0x1000 + b"\r\n", 413),
    "TLS": (b"\x16\x03\x01", b"\x00", 400),
    "a handshake's header": (handshake()[:-2] + b"A: ", b"x", 431),
}


async def test_what_never_ends_is_refused_and_the_connection_closed(world: World) -> None:
    async def attack(begin: bytes, more: bytes) -> int:
        async with world.client() as client:
            await client.send(begin)
            sending = asyncio.create_task(client.flood(more))
            status, _ = await client.answer()
            await asyncio.wait_for(sending, PATIENCE_S)
            return status

    statuses = await asyncio.gather(*(attack(begin, more) for begin, more, _ in ENDLESS.values()))
    assert dict(zip(ENDLESS, statuses, strict=True)) == {kind: status for kind, (_, _, status) in ENDLESS.items()}
    await world.emptied()
    assert Watched.most_kept <= HEAD_BYTES


REFUSED = [
    (POST + b"Content-Length: 10000000\r\n\r\n", 413),
    (POST + b"Content-Length: 10000000\r\nExpect: 100-continue\r\n\r\n", 413),
    (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (POST + b"Content-Length: 5\r\n" * 2, 400),
    (b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 501),
    (handshake()[:-2] + b"A: " + b"x" * HEAD_BYTES + b"\r\n\r\n", 431),
]


async def test_a_refusal_is_answered_before_any_body(world: World) -> None:
    for data, status in REFUSED:
        async with world.client() as client:
            await client.send(data)
            assert await client.refused() == status, data


async def test_a_client_that_sends_on_gets_to_read_its_refusal(world: World) -> None:
    async with world.client() as client:
        await client.send(POST + b"Content-Length: 10000000\r\n\r\n")
        await client.send(b"x" * 400_000)
        assert await client.refused() == 413
        assert not client.was_reset


async def test_an_answer_before_the_body_was_read_ends_the_connection(world: World) -> None:
    async with world.client() as client:
        await client.send(b"POST /unread HTTP/1.1\r\nContent-Length: 100000\r\n\r\nbegun")
        head = await client.head()
        assert b"\r\nconnection: close\r\n" in head
        assert await client.rest() == b"unread"
    await world.emptied()


async def test_a_body_that_is_whole_keeps_the_connection(world: World) -> None:
    async with world.client() as client:
        for data in (
            b"Content-Length: 5\r\n\r\nhello",
            b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
        ):
            for piece in (POST, data[:7], data[7:-3], data[-3:]):
                await client.send(piece)
                await asyncio.sleep(0)
            assert await client.answer() == (200, b"hello")


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(world: World) -> None:
    async with world.client() as client:
        await client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert await client.answer() == (200, b"hello")


# -- what takes too long ----------------------------------------------------------------------------------------------


UNFINISHED = [b"G", GET, GET[:-2], handshake()[:-2], POST + b"Content-Length: 5\r\n\r\nhe", CHUNKED + b"5\r\nhe"]


async def test_a_request_that_is_not_whole_in_time_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with served(request_s=0.2) as world:

        async def drip(begun: bytes) -> int:
            async with world.client() as client:
                for byte in begun:
                    await client.send(bytes([byte]))
                    await asyncio.sleep(0)
                return await client.refused()

        assert await asyncio.gather(*map(drip, UNFINISHED)) == [408] * len(UNFINISHED)
        await world.emptied()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_answer_may_take_longer_than_a_request() -> None:
    async with served(request_s=0.1, keep_alive_s=0.1) as world, world.client() as client:
        await client.send(b"GET /wait HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.3)
        world.let_go.set()
        assert await client.answer() == (200, b"waited")


async def test_a_connection_without_a_request_is_closed() -> None:
    async with served(keep_alive_s=0.3) as world, world.client() as silent, world.client() as idle:
        await idle.send(GET + b"\r\n")
        assert await idle.answer() == (200, b"hello")
        assert await idle.rest() == await silent.rest() == b""


async def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    async with served(unread_s=0.2) as world, world.client() as client:
        await client.send(b"GET /endless HTTP/1.1\r\n\r\n")
        await world.emptied()


async def test_a_client_that_leaves_within_its_body_is_no_error_of_ours(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.client() as client:
        await client.send(POST + b"Content-Length: 5\r\n\r\nhe")
        await world.emptied(1)
    await world.emptied()
    async with world.client() as client:
        await client.send(GET + b"\r\n")
        assert await client.answer() == (200, b"hello")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# -- one request at a time --------------------------------------------------------------------------------------------


async def test_the_next_request_begins_when_this_one_is_answered(world: World) -> None:
    async with world.client() as client:
        await client.send(
            b"GET /wait HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n" + POST + b"Content-Length: 5\r\n\r\nhel"
        )
        await client.send(b"lo")
        async with world.client() as other:
            await other.send(GET + b"\r\n")
            await other.answer()
        assert world.asked == ["wait"]
        world.let_go.set()
        assert [await client.answer() for _ in range(3)] == [(200, b"waited"), (200, b"next"), (200, b"hello")]


async def test_what_comes_too_far_ahead_is_thrown_away(world: World) -> None:
    async with world.client() as client:
        await client.send(b"GET /wait HTTP/1.1\r\n\r\n")
        sending = asyncio.create_task(client.flood(GET + b"\r\n"))
        await world.paused()
        world.let_go.set()
        assert await client.answer() == (200, b"waited")
        await asyncio.wait_for(sending, PATIENCE_S)
    assert Watched.most_kept <= 64 * 1024
    assert world.asked == ["wait"]


@pytest.mark.parametrize("packets", [1, 2])
async def test_an_upgrade_that_is_not_ours_keeps_the_body(world: World, packets: int) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    async with world.client() as client:
        head = POST + upgrade + b"Content-Length: 5\r\n\r\n"
        for piece in (head + b"GET /",) if packets == 1 else (head, b"GET /"):
            await client.send(piece)
            await asyncio.sleep(0.05)
        assert await client.answer() == (200, b"GET /")
        await client.send(GET + b"\r\n")
        assert await client.answer() == (200, b"hello")


# -- sockets ----------------------------------------------------------------------------------------------------------


async def test_a_handshake_may_have_a_header_of_nine_kilobytes(world: World) -> None:
    async with connect(world.server.url, additional_headers={"X-Large": "x" * 9216}) as client:
        await client.send("hello")
        await (await asyncio.wait_for(world.inboxes.get(), PATIENCE_S)).got("hello")


async def test_what_comes_with_the_handshake_is_the_first_message(world: World) -> None:
    async with world.client() as client:
        await client.send(handshake() + text("early").serialize(mask=True))
        await (await asyncio.wait_for(world.inboxes.get(), PATIENCE_S)).got("early")


async def test_when_there_are_too_many_sockets_requests_are_still_served() -> None:
    async with served(connections=HTTP_ROOM + 2) as world:
        async with connect(world.server.url) as one, connect(world.server.url) as other:
            with pytest.raises(websockets.InvalidStatus) as refusal:
                await connect(world.server.url)
            assert refusal.value.response.status_code == 503
            async with world.client() as client:
                await client.send(GET + b"\r\n")
                assert await client.answer() == (200, b"hello")
            await asyncio.wait_for(asyncio.gather(await one.ping(), await other.ping()), PATIENCE_S)
        await world.emptied()
        async with connect(world.server.url):
            assert world.server.registry.sockets == 1
        await world.emptied()


async def test_over_the_bound_the_connection_that_waits_longest_is_closed() -> None:
    async with served(connections=5) as world, AsyncExitStack() as stack:
        half = await stack.enter_async_context(world.client())
        await half.send(GET)
        silent = [await stack.enter_async_context(world.client()) for _ in range(3)]
        working = await stack.enter_async_context(world.client())
        await working.send(b"GET /wait HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(world.begun.wait(), PATIENCE_S)
        more = [await stack.enter_async_context(world.client()) for _ in range(9)]
        assert await half.refused() == 503
        assert [await each.rest() for each in (*silent, *more[:5])] == [b""] * 8
        world.let_go.set()
        assert await working.answer() == (200, b"waited"), "what is being answered stays"
        await more[-1].send(GET + b"\r\n")
        assert await more[-1].answer() == (200, b"hello")


async def test_a_unix_socket_is_served_whatever_tcp_is_full_of(tmp_path: Path) -> None:
    async with served(connections=1) as world:
        server = world.server
        http: Any = server.config.http_protocol_class
        make = partial(http, server.config, server.server_state, {})
        loop = asyncio.get_running_loop()
        async with world.client() as busy, await loop.create_unix_server(make, tmp_path / "api"):
            await busy.send(b"GET /wait HTTP/1.1\r\n\r\n")
            await asyncio.wait_for(world.begun.wait(), PATIENCE_S)
            async with world.client() as refused:
                assert await refused.refused() == 503
            async with connected(socket.AF_UNIX, str(tmp_path / "api")) as local:
                await local.send(GET + b"\r\n")
                assert await local.answer() == (200, b"hello")
                assert server.registry.connections == 1


# -- HEAD -------------------------------------------------------------------------------------------------------------


async def test_head_is_answered_like_get_without_the_body(world: World) -> None:
    async with world.client() as client:
        await client.send(b"HEAD / HTTP/1.1\r\n\r\n" + GET + b"\r\n")
        head = await client.head()
        assert b"content-length: 5\r\n" in head
        assert await client.answer() == (200, b"hello"), "nothing stands between the two answers"


async def test_head_of_a_stream_ends(world: World) -> None:
    async with world.client() as client:
        await client.send(b"HEAD /endless HTTP/1.1\r\n\r\n" + GET + b"\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 200")
        assert await client.answer() == (200, b"hello")
