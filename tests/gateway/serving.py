"""Real sockets for tests: uvicorn with our framing around a small application, and a client that speaks bytes."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn
from litestar import Litestar
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from app.gateway.connection import Connection
from app.gateway.connection_registry import ConnectionLimits, ConnectionRegistry
from app.gateway.http_connection import HttpConnection

LIMITS = ConnectionLimits()
PATIENCE_S = 10.0
"""How long a test waits for what must happen at once."""


class Serving(uvicorn.Server):
    """A server that says when it is up, and where."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, registry: ConnectionRegistry) -> None:
        super().__init__(config)
        self.registry = registry
        self.up = asyncio.Event()
        self.port: int = listener.getsockname()[1]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"


@asynccontextmanager
async def serve(
    app: Litestar,
    ws: type[Connection] = Connection,
    http: type[HttpConnection] = HttpConnection,
    limits: ConnectionLimits = LIMITS,
    **config: Any,
) -> AsyncIterator[Serving]:
    """The application on a port of its own until the block ends."""
    registry = ConnectionRegistry(limits, asyncio.get_running_loop())
    config |= {"ws": ws, "http": partial(http, registry=registry)}
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    chosen = {"lifespan": "off", "log_config": None, "access_log": False, "ws_per_message_deflate": False, **config}
    server = Serving(uvicorn.Config(app, **chosen), listener, registry)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.wait_for(server.up.wait(), PATIENCE_S)
    try:
        yield server
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, PATIENCE_S)
        listener.close()


@dataclass
class Raw:
    """A client that sends bytes as they are and answers nothing by itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    parser: StreamReader = field(default_factory=StreamReader)

    async def frame(self) -> Frame:
        """The next frame of the server."""
        parsing = Frame.parse(self.parser.read_exact, mask=False)
        while True:
            try:
                next(parsing)
            except StopIteration as done:
                frame: Frame = done.value
                return frame
            data = await asyncio.wait_for(self.reader.read(65_536), PATIENCE_S)
            if not data:
                raise EOFError
            self.parser.feed_data(data)

    async def closed_with(self) -> int:
        """The code of the close frame, past whatever comes before it."""
        while (frame := await self.frame()).opcode is not Opcode.CLOSE:
            pass
        return int.from_bytes(frame.data[:2], "big")

    async def end(self) -> None:
        """Wait until the server has cut the connection."""
        try:
            while await asyncio.wait_for(self.reader.read(65_536), PATIENCE_S):
                pass
        except ConnectionResetError:
            pass

    def send(self, *frames: Frame) -> None:
        self.writer.write(b"".join(frame.serialize(mask=True) for frame in frames))

    def vanish(self) -> None:
        """Gone without a word."""
        self.writer.transport.abort()


def text(content: str | bytes, *, fin: bool = True, opcode: Opcode = Opcode.TEXT) -> Frame:
    return Frame(opcode, content.encode() if isinstance(content, str) else content, fin)


def handshake(path: str = "/ws") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


@asynccontextmanager
async def raw(server: Serving, path: str = "/ws") -> AsyncIterator[Raw]:
    """A connection after its handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(handshake(path))
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
