"""WebSocket clients of a service of several cells: they stay, notice when they are dropped, and come back by token."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

WITHIN_S = 20.0


class Client:
    """One user on one socket."""

    def __init__(self, url: str, user_id: str) -> None:
        self.user_id = user_id
        self.ready: dict[str, Any] = {}
        self._url = url
        self._socket: ClientConnection | None = None

    async def connect(self) -> Self:
        """Open, or open again with the token of the connection before."""
        token = self.ready.get("resume_token")
        resume = "" if token is None else f"&resume={token}"
        self._socket = await connect(f"{self._url}?user={self.user_id}{resume}", compression=None)
        self.ready = (await self.hear())["payload"]
        return self

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    @property
    def is_open(self) -> bool:
        return self._socket is not None and self._socket.close_code is None

    async def hear(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(WITHIN_S):
            event: dict[str, Any] = json.loads(await self.socket.recv())
            return event

    async def ask(self, content: str) -> list[dict[str, Any]]:
        """Send a message; its events, to the last."""
        await self.socket.send(json.dumps({"type": "user_message", "payload": {"content": content}}))
        events = [await self.hear()]
        while events[-1]["type"] not in ("agent_completed", "error", "agent_stopped"):
            events.append(await self.hear())
        return events

    async def closed(self) -> int | None:
        """Wait until the other side has closed; the code, None: it was cut off."""
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    await self.socket.recv()
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd is not None else None

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()


class Crowd:
    """So many clients, connected within the block."""

    def __init__(self, url: str, count: int) -> None:
        self.clients = [Client(url, f"user-{number}") for number in range(count)]

    async def __aenter__(self) -> list[Client]:
        await asyncio.gather(*(client.connect() for client in self.clients))
        return self.clients

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(client.close() for client in self.clients))
