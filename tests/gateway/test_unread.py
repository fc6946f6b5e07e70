"""A client that does not read what it asked for is cut off, and one that reads slowly is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from app.gateway.connection_registry import ConnectionLimits, ConnectionRegistry
from app.gateway.http_connection import HttpConnection

PIECE = b"x" * 65_536
PIECES = 400
"""Far more than the kernel keeps for a socket."""


@asynccontextmanager
async def serving(ended: asyncio.Event, unread_s: float) -> AsyncIterator[int]:
    """A server whose only answer is long; `ended` is set when it is over."""

    async def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": False})
        for left in range(PIECES)[::-1]:
            await send({"type": "http.response.body", "body": PIECE, "more_body": bool(left)})
        ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        registry = ConnectionRegistry(ConnectionLimits(unread_s=unread_s), asyncio.get_running_loop())
        http: Any = partial(HttpConnection, registry=registry)
        config = uvicorn.Config(answer, http=http, lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


async def test_who_reads_nothing_is_cut_off() -> None:
    ended = asyncio.Event()
    async with serving(ended, unread_s=0.2) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await ended.wait()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(PIECES * len(PIECE))
        writer.close()


async def test_who_reads_slowly_gets_it_all() -> None:
    ended = asyncio.Event()
    async with serving(ended, unread_s=5.0) as port, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        got = 0
        while got < PIECES * len(PIECE):
            got += len(await reader.read(len(PIECE)))
        assert ended.is_set()
        writer.close()
