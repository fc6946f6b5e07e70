"""One WebSocket client of a load test: connects, sends at its rate, and gives every frame to its history."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from app.loadtest.history import ClientHistory, Finished
from app.loadtest.options import LoadOptions

CONNECT_TRIES = 3
CLOSE_S = 5.0


class Client:
    """One user's socket. `on_finished` is called for every finished or refused message."""

    def __init__(self, options: LoadOptions, index: int, on_finished: Callable[[Finished], None]) -> None:
        self.history = ClientHistory(options.user(index))
        self.failure = ""
        """Why it could not connect; empty: it is connected, or has not tried."""
        self.is_open = False
        self._options = options
        self._index = index
        self._on_finished = on_finished
        self.sent = 0
        self._end = math.inf
        self._progress = asyncio.Event()
        self._closing = False
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, with some retries. Never raises for a refusal: see `failure`."""
        user = self.history.user_id
        for attempt in range(CONNECT_TRIES):
            try:
                self._socket = await connect(
                    self._options.url_of(user),
                    compression=None,
                    ping_interval=None,  # the service sends pings; ours would only add load
                    additional_headers=self._headers(user),
                    local_addr=self._options.source_of(self._index),
                    close_timeout=CLOSE_S,
                    max_queue=None,
                    proxy=None,
                )
            except (OSError, InvalidHandshake, InvalidMessage, TimeoutError) as error:
                self.failure = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.2 * (attempt + 1))
            else:
                self.failure = ""
                self.is_open = True
                self._reader = asyncio.create_task(self._read(self._socket))
                return

    async def send_until(self, end: float, delay_s: float) -> None:
        """Send from `delay_s` seconds on until `end` (monotonic seconds) or `stop`, then wait for the answers."""
        if self._socket is None:
            return
        self._end = min(self._end, end)
        period = 1 / self._options.rate if self._options.rate else 0.0
        due = time.monotonic() + delay_s
        while self.is_open and due < self._end:
            await self._sleep_until(due)
            if not await self._wait_below(self._options.inflight, 0.0) or time.monotonic() >= self._end:
                break
            await self._send()
            due = max(due + period, time.monotonic()) if period == 0 else due + period
        await self._wait_below(1, self._options.settle_s)

    def stop(self) -> None:
        """Send nothing more; `send_until` ends when everything is answered."""
        self._end = time.monotonic()
        self._progress.set()

    async def close(self) -> None:
        """Close the socket, if it is open, and end the history."""
        self._closing = True
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    async def _send(self) -> None:
        assert self._socket is not None
        self.sent += 1
        message_id = f"{self.history.user_id}-{self.sent}"
        if self._options.agent:
            payload: dict[str, object] = {"user_request": self._options.content, "agent": self._options.agent}
            body: dict[str, object] = {"type": "start_agent", "message_id": message_id, "payload": payload}
        else:
            body = {"type": "user_message", "message_id": message_id, "payload": {"content": self._options.content}}
        self.history.sent(message_id, time.monotonic())
        try:
            await self._socket.send(msgspec.json.encode(body).decode())
        except ConnectionClosed:
            return  # the reader reports it

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                done = self.history.received(await socket.recv(decode=False), time.monotonic())
                if done is not None:
                    self._on_finished(done)
                    self._progress.set()
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd is not None else 1006
            self.is_open = False
            self.history.closed(code, asked=self._closing)
            self._progress.set()

    async def _wait_below(self, limit: int, late_s: float) -> bool:
        """Wait until fewer than `limit` messages are unanswered.

        False: the socket was closed, or it is `late_s` seconds after the end of sending first.
        """
        while self.is_open and self.history.outstanding >= limit:
            self._progress.clear()
            left = self._end + late_s - time.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._progress.wait()
            except TimeoutError:
                return False  # the loop's clock is coarse: it may not be the end by ours yet
        return self.is_open

    async def _sleep_until(self, due: float) -> None:
        while (left := min(due, self._end) - time.monotonic()) > 0:
            self._progress.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._progress.wait()

    def _headers(self, user: str) -> dict[str, str]:
        if not self._options.jwt_key:
            return {}
        import jwt

        claims = {"sub": user, "exp": int(time.time() + self._options.seconds + 3600)}
        return {"Authorization": f"Bearer {jwt.encode(claims, self._options.jwt_key, algorithm='HS256')}"}
