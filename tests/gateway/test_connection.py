"""Connections on real sockets and both event loops: what arrives whole, what ends them, and with which code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import websockets
from litestar import Litestar, WebSocket, websocket
from litestar.datastructures import State
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from app.gateway.connection import EXTENSION, Connection
from app.gateway.framed_socket import DelayedFlush, FramedSocket
from app.gateway.framing import FRAGMENTS
from app.gateway.rate_limits import FRAME_RATE
from app.gateway.session_opener import SessionOpener
from tests.gateway.harness import HandCell, frame, opener_of, with_settings
from tests.gateway.serving import PATIENCE_S, Serving, raw, serve, text
from tests.gateway.test_resume import ANN

MAX_BYTES = 2000


BINARY = b"a binary message, whose content is not kept"


@dataclass
class Inbox:
    """A receiver that keeps what it gets and answers what a test wants."""

    socket: FramedSocket
    messages: list[bytes] = field(default_factory=list)
    detached: int = 0
    answer: Callable[[bytes], None] = lambda data: None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, frame: str | bytes) -> None:
        assert isinstance(frame, bytes)
        self.messages.append(frame)
        self.changed.set()
        self.answer(frame)

    def refuse_binary(self) -> None:
        self.receive(BINARY)

    def on_detached(self) -> None:
        self.detached += 1
        self.changed.set()

    async def until(self, condition: Callable[[Inbox], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition(self):
                self.changed.clear()
                await self.changed.wait()

    async def got(self, *messages: str | bytes) -> None:
        expected = [message.encode() if isinstance(message, str) else message for message in messages]
        await self.until(lambda inbox: len(inbox.messages) >= len(expected))
        assert self.messages == expected


class Watched(Connection):
    """Counts writes and remembers every connection."""

    last: Watched
    writes: int
    close_within_s = 10.0

    def connection_made(self, transport: Any) -> None:
        self.writes = 0
        self.close_timeout = self.close_within_s
        super().connection_made(Counting(transport, self))  # type: ignore[arg-type]
        Watched.last = self


class Counting:
    def __init__(self, transport: Any, connection: Watched) -> None:
        self._transport = transport
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.writes += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@dataclass
class Endpoint:
    """A server whose handler attaches an `Inbox` as soon as the test lets it."""

    server: Serving
    open: asyncio.Event
    inboxes: asyncio.Queue[Inbox]

    @property
    def url(self) -> str:
        return self.server.url

    async def inbox(self) -> Inbox:
        return await asyncio.wait_for(self.inboxes.get(), PATIENCE_S)


def application() -> tuple[Litestar, asyncio.Event, asyncio.Queue[Inbox]]:
    opened, inboxes = asyncio.Event(), asyncio.Queue[Inbox]()
    opened.set()

    @websocket("/ws")
    async def handler(socket: WebSocket[Any, Any, State]) -> None:
        await socket.receive()
        accept: Any = {"type": "websocket.accept", "subprotocol": None, "headers": []}
        await socket.send(accept)
        await opened.wait()
        extensions: Any = socket.scope["extensions"]
        inbox = Inbox(extensions[EXTENSION])
        if not inbox.socket.attach(inbox):
            inbox.on_detached()
        inboxes.put_nowait(inbox)

    return Litestar([handler], openapi_config=None), opened, inboxes


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    app, opened, inboxes = application()
    async with serve(app, Watched, ws_max_size=MAX_BYTES) as server:
        yield Endpoint(server, opened, inboxes)


# -- what arrives -----------------------------------------------------------------------------------------------------


async def test_messages_arrive_whole_and_answers_leave(endpoint: Endpoint) -> None:
    async with connect(endpoint.url) as client:
        inbox = await endpoint.inbox()
        inbox.answer = inbox.socket.send
        sizes = (0, 1, 125, 126, 127, MAX_BYTES)
        for size in sizes:
            await client.send("x" * size)
        assert [len(await client.recv()) for _ in sizes] == list(sizes)
        inbox.answer = lambda data: inbox.socket.send(b"y" * 70_000)
        await client.send("large")
        assert await client.recv() == "y" * 70_000
    await inbox.until(lambda inbox: inbox.detached == 1)


async def test_fragments_are_one_message_and_may_have_pings_between_them(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        word = "grü".encode()
        client.send(
            text(word[:3], fin=False),
            Frame(Opcode.PING, b"1"),
            text(word[3:], fin=False, opcode=Opcode.CONT),
            text(b"", fin=True, opcode=Opcode.CONT),
            text("whole"),
        )
        await inbox.got("grü", "whole")
        assert (await client.frame()).opcode is Opcode.PONG


async def test_binary_is_told_and_never_looked_at(endpoint: Endpoint) -> None:
    async with connect(endpoint.url) as client:
        inbox = await endpoint.inbox()
        await client.send(b"\xff")
        await client.send("text")
        await inbox.got(BINARY, "text")


async def test_a_ping_is_answered_after_what_was_said_before_it(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        inbox.answer = inbox.socket.send
        client.send(text("first"), Frame(Opcode.PING, b"beat"))
        one, two = await client.frame(), await client.frame()
        assert (one.opcode, bytes(one.data)) == (Opcode.TEXT, b"first")
        assert (two.opcode, bytes(two.data)) == (Opcode.PONG, b"beat")


async def test_messages_before_the_session_is_there_wait_in_their_order(endpoint: Endpoint) -> None:
    endpoint.open.clear()
    async with raw(endpoint.server) as client:
        client.send(text("one"), text("t", fin=False), text("wo", opcode=Opcode.CONT))
        client.send(text("three"), Frame(Opcode.BINARY, b""), Frame(Opcode.PING, b""))
        assert (await client.frame()).opcode is Opcode.PONG, "all of it has arrived"
        endpoint.open.set()
        inbox = await endpoint.inbox()
        client.send(text("five"))
        await inbox.got("one", "two", "three", BINARY, "five")


async def test_too_many_early_messages_end_the_connection(endpoint: Endpoint) -> None:
    endpoint.open.clear()
    async with raw(endpoint.server) as client:
        client.send(*[text("more")] * 65)
        assert await client.closed_with() == 1008
        endpoint.open.set()
        assert (await endpoint.inbox()).messages == []


async def test_frames_of_one_turn_leave_in_one_write(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()

        def say_three(data: bytes) -> None:
            for number in range(3):
                inbox.socket.send(b"%d" % number)

        inbox.answer = say_three
        before = Watched.last.writes
        client.send(text("go"))
        assert [bytes((await client.frame()).data) for _ in range(3)] == [b"0", b"1", b"2"]
        assert Watched.last.writes - before == 1


async def test_a_held_frame_leaves_with_the_next_one_in_one_write(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        before = Watched.last.writes
        inbox.socket.hold(b"ack")
        inbox.socket.send(b"event")
        assert [bytes((await client.frame()).data) for _ in range(2)] == [b"ack", b"event"]
        assert Watched.last.writes - before == 1


@pytest.mark.parametrize("started", [False, True])
async def test_a_held_frame_that_nothing_follows_leaves_alone(endpoint: Endpoint, started: bool) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        inbox.socket.hold(b"ack")
        if started:
            inbox.socket.hurry()
        assert bytes((await client.frame()).data) == b"ack"


async def test_what_is_held_after_a_write_waits_for_its_own_time(endpoint: Endpoint) -> None:
    timers: list[Callable[[], None]] = []

    class Clock:
        def call_later(self, seconds: float, call: Callable[[], None]) -> None:
            timers.append(call)

    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        waiting, clock = DelayedFlush(1.0), cast(asyncio.AbstractEventLoop, Clock())
        waiting.add(inbox.socket, clock)  # of a frame that has left meanwhile
        inbox.socket.send(b"event")
        assert bytes((await client.frame()).data) == b"event"
        inbox.socket.hold(b"ack")
        before = Watched.last.writes
        timers.pop()()
        assert Watched.last.writes == before


# -- what ends a connection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code"),
    [(text(b"\xff\xfe"), 1007), (text("x" * (MAX_BYTES + 1)), 1009), (text("x", opcode=Opcode.CONT), 1002)],
    ids=["utf-8", "big", "no start"],
)
async def test_a_peer_that_breaks_the_protocol_is_told_the_code(endpoint: Endpoint, frame: Frame, code: int) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        client.send(frame, text("after"))
        assert await client.closed_with() == code
        await inbox.until(lambda inbox: inbox.detached > 0)
        await client.end()
        assert (inbox.messages, inbox.detached) == ([], 1)


async def test_an_unmasked_frame_is_a_protocol_error(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        client.writer.write(text("bare").serialize(mask=False))
        assert await client.closed_with() == 1002
        await inbox.until(lambda inbox: inbox.detached == 1)


async def test_the_client_s_close_is_answered_and_told_once(endpoint: Endpoint) -> None:
    client = await connect(endpoint.url)
    inbox = await endpoint.inbox()
    await client.close(1000, "bye")
    assert (client.close_code, client.protocol.close_rcvd_then_sent) == (1000, False)
    await inbox.until(lambda inbox: inbox.detached == 1)
    inbox.socket.send(b"too late")


async def test_our_close_leaves_after_what_was_said_before_it(endpoint: Endpoint) -> None:
    async with connect(endpoint.url) as client:
        inbox = await endpoint.inbox()
        inbox.socket.send(b"last words")
        inbox.socket.close(1013, "too slow")
        inbox.socket.send(b"never")
        inbox.socket.close(1008, "never")
        assert await client.recv() == "last words"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too slow")
    assert inbox.detached == 0, "who closes knows it"


async def test_a_frame_that_our_close_cuts_in_two_does_not_spoil_the_handshake(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        whole = text("half of it").serialize(mask=True)
        client.send(text("first"))
        client.writer.write(whole[:7])
        await inbox.got("first")
        inbox.socket.close(1012, "restart")
        assert await client.closed_with() == 1012
        client.writer.write(whole[7:])
        client.send(Frame(Opcode.CLOSE, (1012).to_bytes(2, "big")))
        await client.end()
        assert Watched.last.conn.parser_exc is None
        assert inbox.messages == [b"first"]


async def test_a_peer_that_does_not_answer_our_close_is_cut_off(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watched, "close_within_s", 0.05)
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        inbox.socket.close(1008, "policy")
        assert await client.closed_with() == 1008
        await client.end()


async def test_a_client_that_vanishes_is_told_once(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        client.vanish()
        await inbox.until(lambda inbox: inbox.detached == 1)
        inbox.socket.send(b"nobody")
        inbox.socket.close(1001, "nobody")
        assert not inbox.socket.attach(inbox)


async def test_a_client_that_is_gone_before_the_session_is_there_is_not_attached(endpoint: Endpoint) -> None:
    endpoint.open.clear()
    async with raw(endpoint.server) as client:
        client.send(text("early"))
    async with connect(endpoint.url):  # the server has heard of the first one's end by now
        endpoint.open.set()
        first, second = await endpoint.inbox(), await endpoint.inbox()
        assert sorted([first.detached, second.detached]) == [0, 1]
        assert (first.messages, second.messages) == ([], [])


async def test_a_half_open_peer_is_closed_with_1001() -> None:
    app, _, inboxes = application()
    async with serve(app, ws_ping_interval=0.05, ws_ping_timeout=0.05) as server, raw(server) as client:
        inbox = await asyncio.wait_for(inboxes.get(), PATIENCE_S)
        assert (await client.frame()).opcode is Opcode.PING
        assert await client.closed_with() == 1001
        assert inbox.detached == 1


async def test_a_peer_that_answers_pings_stays() -> None:
    app, _, inboxes = application()
    async with serve(app, ws_ping_interval=0.1, ws_ping_timeout=1.0) as server, raw(server) as client:
        inbox = await asyncio.wait_for(inboxes.get(), PATIENCE_S)
        for _ in range(15):  # for longer than one may be silent
            ping = await client.frame()
            assert ping.opcode is Opcode.PING
            client.send(Frame(Opcode.PONG, ping.data))
        assert inbox.detached == 0


async def test_a_stopping_server_says_1012() -> None:
    app, _, inboxes = application()
    async with serve(app) as server, connect(server.url) as client:
        inbox = await asyncio.wait_for(inboxes.get(), PATIENCE_S)
        server.should_exit = True
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert inbox.detached == 1


# -- with a session ---------------------------------------------------------------------------------------------------


async def test_a_reader_too_slow_for_its_session_is_closed_with_1013_and_may_come_back() -> None:
    cell = HandCell(with_settings(send_buffer_bytes=65_536))
    opener = opener_of(cell)
    async with serve(serving_sessions(opener)) as server, raw(server) as client:
        ready = await client.frame()
        client.send(text(frame("chat", "m1")))
        assert b'"ack"' in (await client.frame()).data
        [session] = cell.index
        cell.v2.started()
        for _ in range(2000):
            cell.v2.event(pad="x" * 50_000)
            await asyncio.sleep(0)
            if session.socket is None:
                break
        assert session.socket is None
        assert await client.closed_with() == 1013
    token = session.resume_token
    assert token.encode() in ready.data
    async with serve(serving_sessions(opener, token)) as server, raw(server) as client:
        assert b'"recovered":true' in (await client.frame()).data
        assert (await client.frame()).opcode is Opcode.PING, "whether it has got the new token"
        cell.v2.done()
        assert b'"agent_completed"' in (await client.frame()).data


def serving_sessions(opener: SessionOpener, token: str | None = None) -> Litestar:
    @websocket("/ws")
    async def handler(socket: WebSocket[Any, Any, State]) -> None:
        await socket.receive()
        accept: Any = {"type": "websocket.accept", "subprotocol": None, "headers": []}
        await socket.send(accept)
        extensions: Any = socket.scope["extensions"]
        await opener.open_websocket(ANN, extensions[EXTENSION], token)

    return Litestar([handler], openapi_config=None)


# -- what a client may cost -------------------------------------------------------------------------------------------

FLOODS = {
    "pings": [Frame(Opcode.PING, b"")],
    "pongs": [Frame(Opcode.PONG, b"x" * 125)],
    "binary": [Frame(Opcode.BINARY, b"")],
    "messages in two fragments": [text("", fin=False), text("", opcode=Opcode.CONT)],
    "fragments of one byte": [
        text("x", fin=False),
        *([text("x", fin=False, opcode=Opcode.CONT)] * 30),
        text("x", opcode=Opcode.CONT),
    ],
    "large binary": [Frame(Opcode.BINARY, b"x" * MAX_BYTES)],
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
async def test_a_flood_of_frames_is_refused_by_name_beside_others_who_are_served(
    endpoint: Endpoint, flood: list[Frame]
) -> None:
    async with raw(endpoint.server) as hostile, connect(endpoint.url) as other:
        await endpoint.inbox()
        served = await endpoint.inbox()
        served.answer = served.socket.send

        async def attack() -> int:
            data = b"".join(frame.serialize(mask=True) for frame in flood)
            for _ in range(1 + int(FRAME_RATE.burst) * 2 // (len(flood) * 100)):
                hostile.writer.write(data * 100)
            return await hostile.closed_with()

        attacking = asyncio.create_task(attack())
        for number in range(50):
            await other.send(str(number))
            assert await asyncio.wait_for(other.recv(), PATIENCE_S) == str(number)
        assert await asyncio.wait_for(attacking, PATIENCE_S) == 1008
        assert served.detached == 0


async def test_many_fragments_of_one_message_are_refused_by_name(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        client.send(text("", fin=False), *[text("", fin=False, opcode=Opcode.CONT)] * FRAGMENTS)
        assert await client.closed_with() == 1008
        await inbox.until(lambda inbox: inbox.detached == 1)
        assert inbox.messages == []


async def test_more_frames_than_fit_into_a_turn_arrive_whole_and_in_order(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        sent: list[Frame] = []
        for number in range(500):
            word = str(number)
            sent += [
                Frame(Opcode.PING, b""),
                *([text(word)] if number % 3 else [text(word[:1], fin=False), text(word[1:], opcode=Opcode.CONT)]),
            ]
        client.send(*sent)
        await inbox.got(*map(str, range(500)))
        client.send(text("and it goes on"))
        await inbox.until(lambda inbox: inbox.messages[-1] == b"and it goes on")


async def test_a_client_that_pings_and_never_reads_is_kept_in_little_memory(endpoint: Endpoint) -> None:
    async with raw(endpoint.server) as client:
        inbox = await endpoint.inbox()
        connection = Watched.last
        # What is sent fills the kernel's buffers and then the transport's, up to the mark above which it says so.
        while not inbox.socket.reads_too_slowly:
            inbox.socket.send(b"x" * 65_536)
            await asyncio.sleep(0)
        before = inbox.socket.buffered_bytes()
        client.send(*[Frame(Opcode.PING, b"x" * 125)] * 1000)
        client.send(text("read by now"))
        await inbox.got("read by now")
        assert inbox.socket.buffered_bytes() <= before
        assert connection.socket is inbox.socket
