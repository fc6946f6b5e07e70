"""A user at the limit of sockets: those whose client is gone make room, those that answer do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import websockets
from litestar import Litestar
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from app.gateway.handshake import open_websocket
from app.gateway.http import post_message
from app.gateway.silent_sockets import MOST_WAITING, SilentSockets
from tests.gateway.harness import Client, opener_of, with_settings
from tests.gateway.live_cell import LiveCell
from tests.gateway.serving import PATIENCE_S, Raw, Serving, raw, serve

SHORT_S = 0.05


@dataclass
class Place:
    """A cell in which a user may have three sockets."""

    cell: LiveCell
    server: Serving
    stack: AsyncExitStack

    async def silent(self, user: str = "ann") -> Raw:
        """A socket whose client reads, and answers nothing."""
        return await self.stack.enter_async_context(raw(self.server, f"/ws?user={user}"))

    async def alive(self, query: str = "user=ann") -> ClientConnection:
        """A socket whose client answers pings."""
        socket = await self.stack.enter_async_context(connect(f"{self.server.url}?{query}"))
        assert json.loads(await socket.recv())["type"] == "connection_ready"
        return socket


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with a_place() as made:
        yield made


@asynccontextmanager
async def a_place(**config: Any) -> AsyncIterator[Place]:
    cell = LiveCell(with_settings(connections_per_user=3), percentage=100)
    app = Litestar([open_websocket, post_message], openapi_config=None)
    app.state.session_opener = opener_of(cell, occupancy=cell)
    async with serve(app, **config) as server, AsyncExitStack() as stack:
        yield Place(cell, server, stack)


async def test_dead_sockets_make_room_at_once_for_as_many_as_may_be_open(place: Place) -> None:
    """Five come together: three of them get the places of the three that are silent, and no more."""
    dead = [await place.silent() for _ in range(3)]
    token = json.loads(bytes((await dead[0].frame()).data))["payload"]["resume_token"]
    coming = await asyncio.gather(*(place.alive() for _ in range(5)), return_exceptions=True)
    refused = [each.response.status_code for each in coming if isinstance(each, websockets.InvalidStatus)]
    assert refused == [429, 429]
    for each in dead:
        assert await each.closed_with() == 1001
    assert len(place.cell.sockets_of("ann")) == 3
    back = await place.alive(f"user=ann&resume={token}")
    assert back.state.name == "OPEN", "whoever was silent can come back"


async def test_who_answers_keeps_the_place(place: Place) -> None:
    sockets = [await place.alive() for _ in range(3)]
    for _ in range(2):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await place.alive()
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"] == "1"
    assert len(place.cell.sockets_of("ann")) == 3
    for socket in sockets:
        await asyncio.wait_for(await socket.ping(), PATIENCE_S)


async def test_only_the_silent_one_goes(place: Place) -> None:
    sockets, dead, other = [await place.alive() for _ in range(2)], await place.silent(), await place.silent("bob")
    newest = await place.alive()
    assert await dead.closed_with() == 1001
    for socket in (*sockets, newest):
        await asyncio.wait_for(await socket.ping(), PATIENCE_S)
    assert len(place.cell.sockets_of("bob")) == 1, "nobody asks the sockets of others"
    assert (await other.frame()).opcode is Opcode.TEXT


async def test_a_message_is_a_sign_of_life_as_good_as_a_pong(place: Place) -> None:
    busy = [await place.silent() for _ in range(3)]
    coming = asyncio.create_task(place.alive())
    for each in busy:
        while (await each.frame()).opcode is not Opcode.PING:
            pass
        each.send(Frame(Opcode.TEXT, b'{"type": "ping"}'))
    with pytest.raises(websockets.InvalidStatus) as refused:
        await coming
    assert refused.value.response.status_code == 429
    assert len(place.cell.sockets_of("ann")) == 3


async def test_a_client_that_is_gone_meanwhile_need_not_be_waited_for(place: Place) -> None:
    dead = [await place.silent() for _ in range(3)]
    coming = asyncio.create_task(place.alive())
    while (await dead[0].frame()).opcode is not Opcode.PING:
        pass
    for each in dead:
        each.vanish()
    await asyncio.wait_for(coming, PATIENCE_S)


async def test_who_answers_only_the_newest_ping_has_answered_the_heartbeat_too() -> None:
    """RFC 6455, section 5.5.3. Another heartbeat follows only when the one before was answered."""
    async with a_place(ws_ping_interval=0.01, ws_ping_timeout=PATIENCE_S * 2) as place:
        lazy = [await place.silent() for _ in range(3)]
        for each in lazy:
            while (await each.frame()).opcode is not Opcode.PING:
                pass
        coming = asyncio.create_task(place.alive())
        for each in lazy:
            while (frame := await each.frame()).opcode is not Opcode.PING:
                pass
            assert frame.data == b""
            each.send(Frame(Opcode.PONG, b""))
        with pytest.raises(websockets.InvalidStatus):
            await coming
        for each in lazy:
            while (frame := await each.frame()).opcode is not Opcode.PING:
                pass
            assert frame.data != b""


# -- its bounds -------------------------------------------------------------------------------------------------------


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_wait_together_ask_once() -> None:
    sockets = [Client(), Client()]
    sockets[1].silent = True
    closing = SilentSockets(lambda _: sockets, most_of_user=9, answer_s=SHORT_S)
    await asyncio.gather(*(closing.close_silent("ann") for _ in range(5)))
    assert [socket.asked for socket in sockets] == [1, 1]
    assert [socket.closed for socket in sockets] == [None, (1001, "no answer to a ping")]
    await closing.close_silent("ann")
    assert sockets[0].asked == 2, "the next one asks again"


async def test_so_many_wait_and_whoever_comes_then_does_not() -> None:
    silent = Client()
    silent.silent = True
    closing = SilentSockets(lambda _: [silent], most_of_user=3, answer_s=PATIENCE_S)
    users = [f"u{number // 3}" for number in range(MOST_WAITING)]
    waiting = [asyncio.create_task(closing.close_silent(user)) for user in users]
    await turns()
    assert not any(task.done() for task in waiting)
    await asyncio.wait_for(closing.close_silent("u0"), PATIENCE_S / 2)
    await asyncio.wait_for(closing.close_silent("another"), PATIENCE_S / 2)
    waiting[-1].cancel()
    await turns()
    late = asyncio.create_task(closing.close_silent("another"))
    await turns()
    assert not late.done(), "whoever goes away makes room"
    for task in (*asyncio.all_tasks() - {asyncio.current_task()},):
        task.cancel()
    await turns()


async def test_one_user_has_only_so_many_of_the_places() -> None:
    silent = Client()
    silent.silent = True
    closing = SilentSockets(lambda _: [silent], most_of_user=2, answer_s=PATIENCE_S)
    waiting = [asyncio.create_task(closing.close_silent("ann")) for _ in range(2)]
    await turns()
    await asyncio.wait_for(closing.close_silent("ann"), PATIENCE_S / 2)
    assert not any(task.done() for task in waiting)
    for task in (*asyncio.all_tasks() - {asyncio.current_task()},):
        task.cancel()
    await turns()


async def test_a_user_without_sockets_waits_for_nothing() -> None:
    await asyncio.wait_for(SilentSockets(lambda _: [], most_of_user=3).close_silent("ann"), PATIENCE_S)
