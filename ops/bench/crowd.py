"""The clients of the switching benchmark: thousands of sockets, many of them with messages in flight at any moment."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.loadtest.history import Finished
from ops.chaos.client import ChaosClient

SOURCES = 20
"""Loopback addresses to connect from; one address pair has 28,232 ports."""
AT_ONCE = 100
WAVE_S = 1.5
"""Seconds in which half of the sessions get a message; the disturbance is in the middle."""
SHORT_MS, LONG_MS = (0, 300), (5_000, 20_000)
QUEUED = 0.2
"""Share of the clients with short messages that have a second message waiting."""
SETTLE_S = 120.0


@dataclass(frozen=True)
class InFlight:
    """An accepted message that had no terminal event at one moment."""

    client: ChaosClient
    message_id: str
    heard: int
    """Number of its events that had arrived."""
    started: bool
    path: str
    """The path on which the client's last message had been started."""

    def result(self) -> tuple[str, str]:
        """Its first terminal event after that moment, and the path on which it completed; empty: none."""
        history = self.client.history
        for event in history.events[self.message_id][self.heard :]:
            if event.startswith("error:") or event in ("agent_completed", "agent_stopped"):
                return event, history.paths.get(self.message_id, "")
        return "", ""


class Crowd:
    """All sessions: half get short messages around each disturbance, a tenth always has a long message running."""

    def __init__(self, url: str, sessions: int) -> None:
        spread = sessions > 1000
        self.clients = [
            ChaosClient(url, f"user-{number:05d}", (f"127.0.0.{2 + number % SOURCES}", 0) if spread else None)
            for number in range(sessions)
        ]
        self._long = self.clients[: sessions // 10]
        self._random = random.Random(sessions)
        self._over = False
        for client in self.clients:
            client.on_finished = self._listener(client, goes_on=client in self._long)

    async def open(self) -> None:
        """Connect all clients, and start the long messages."""
        await self._each(lambda client: client.connect())
        for client in self._long:
            client.say(self._long_work())

    async def wave(self) -> None:
        """Send short messages in half of the sessions, spread over `WAVE_S`."""
        chosen = self._random.sample(self.clients[len(self._long) :], len(self.clients) // 2)
        began = time.monotonic()
        for index, client in enumerate(chosen):
            await asyncio.sleep(began + WAVE_S * index / len(chosen) - time.monotonic())
            client.say(self._short_work())
            if self._random.random() < QUEUED:
                client.say(self._short_work())

    def in_flight(self) -> list[InFlight]:
        """The messages that are in flight now."""
        return [
            InFlight(client, each, len(history.events[each]), each in history.started_on, history.last_path)
            for client in self.clients
            for history in (client.history,)
            for each in history.accepted_and_open()
        ]

    async def settle(self) -> None:
        """Send nothing more, wait for the last answers, read back every history, and close."""
        self._over = True

        async def ask(client: ChaosClient) -> None:
            await client.quiet(SETTLE_S)
            client.send("get_thread_history", {})
            await client.quiet(SETTLE_S)
            await client.close()

        await asyncio.gather(*(client.quiet(SETTLE_S) for client in self.clients))
        await self._each(ask)

    async def _each(self, call: Callable[[ChaosClient], Awaitable[None]]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(client: ChaosClient) -> None:
            async with gate:
                await call(client)

        await asyncio.gather(*(one(client) for client in self.clients))

    def _listener(self, client: ChaosClient, *, goes_on: bool) -> Callable[[Finished], None]:
        """Resend what was interrupted under its id; clients with long messages send the next one."""

        def finished(done: Finished) -> None:
            loop = asyncio.get_running_loop()
            if done.code == "interrupted":
                work = self._long_work() if goes_on and not self._over else self._short_work()
                loop.call_soon(client.say, work, done.message_id)
            elif goes_on and not self._over:
                loop.call_soon(client.say, self._long_work())

        return finished

    def _short_work(self) -> str:
        return f"sleep={self._random.randint(*SHORT_MS)} think=1"

    def _long_work(self) -> str:
        return f"sleep={self._random.randint(*LONG_MS)} think=4"
