"""What clients notice when a canary is aborted: the same clients and the same questions for every server.

The clients are careful ones: they reconnect when they are closed, and resend every message without an answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec

from app.loadtest.history import Finished
from ops.chaos.client import ChaosClient

SHORT_MS, LONG_MS = (0, 300), (5_000, 20_000)
LONG = 0.1
"""Share of the clients that always have a long message running."""
PAUSE_S = (0.2, 1.5)
BEFORE_S, AFTER_S, END_S = 4.0, 12.0, 30.0
AT_ONCE = 100


class Aborted(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of sockets and of messages; times in milliseconds after the operator's command."""

    HEADS: ClassVar[tuple[str, ...]] = (
        "sockets on v3", "closed", "left on v3", "last start on v3", "without an answer", "told to retry", "run twice",
    )  # fmt: skip
    on_v3: int
    """Sockets that v3 served when the canary was aborted."""
    closed: int
    left_on_v3: int
    """Sockets whose last message still went to v3, `AFTER_S` seconds later."""
    last_start_ms: float | None
    """The last message that v3 began."""
    without_answer: int
    """Accepted messages whose answer never came on their socket."""
    told_to_retry: int
    """Messages that ended with an error that asks the client to resend."""
    run_twice: int
    """Messages that were run to the end more than once."""

    def row(self) -> tuple[str, ...]:
        """For the table."""
        last = "none" if self.last_start_ms is None else f"{self.last_start_ms:,.0f} ms"
        counts = (self.without_answer, self.told_to_retry, self.run_twice)
        return (str(self.on_v3), str(self.closed), str(self.left_on_v3), last, *map(str, counts))


class Returning:
    """A client that always reconnects."""

    def __init__(self, url: str, number: int) -> None:
        self.client = ChaosClient(url, f"user-{number}")
        self.client.on_finished = self._finished
        self.closed = self.without_answer = self.told_to_retry = 0
        self.starts_on_v3: list[float] = []
        self._random = random.Random(number)
        self._work_ms = LONG_MS if self._random.random() < LONG else SHORT_MS
        self._content: dict[str, str] = {}
        self._over = False
        self._task: asyncio.Task[None] | None = None
        self.client.history.on_start = self._started

    async def open(self) -> None:
        await self.client.connect()
        self._task = asyncio.create_task(self._stay())
        self._say()

    async def end(self) -> None:
        """Send no new messages, and wait for the last answers."""
        self._over = True
        await self.client.until(lambda: not self._content, END_S)
        if self._task is not None:
            self._task.cancel()
        await self.client.close()

    async def _stay(self) -> None:
        while True:
            assert self.client.wire is not None
            await self.client.wire.gone()
            self.closed += 1
            self.without_answer += len(self._content)
            await asyncio.sleep(self._random.uniform(0, 0.5))
            await self.client.connect()
            for message_id, content in list(self._content.items()):
                self.client.say(content, message_id)

    def _say(self) -> None:
        if not self._over:
            content = f"sleep={self._random.randint(*self._work_ms)}"
            self._content[self.client.say(content)] = content

    def _started(self, path: str) -> None:
        if path == "v3":
            self.starts_on_v3.append(time.monotonic())

    def _finished(self, done: Finished) -> None:
        loop = asyncio.get_running_loop()
        if done.code == "interrupted":
            self.told_to_retry += 1
            loop.call_soon(self.client.say, self._content[done.message_id], done.message_id)
            return
        self._content.pop(done.message_id, None)
        loop.call_later(self._random.uniform(*PAUSE_S), self._say)


async def abort(
    url: str, count: int, take_back: Callable[[], Awaitable[None]], ran: Callable[[], Awaitable[Counter[str]]]
) -> Aborted:
    """The same run for every server: clients at work, the operator's command, and the result."""
    crowd = [Returning(url, number) for number in range(count)]
    gate = asyncio.Semaphore(AT_ONCE)

    async def open_one(each: Returning) -> None:
        async with gate:
            await each.open()

    await asyncio.gather(*(open_one(each) for each in crowd))
    await asyncio.sleep(BEFORE_S)
    on_v3 = sum(each.client.history.last_path == "v3" for each in crowd)
    began = time.monotonic()
    await take_back()
    await asyncio.sleep(AFTER_S)
    left = sum(each.client.history.last_path == "v3" for each in crowd)
    await asyncio.gather(*(each.end() for each in crowd))
    starts = [at for each in crowd for at in each.starts_on_v3 if at > began]
    twice = sum(times > 1 for times in (await ran()).values())
    twice += sum(violation.rule == "run once" for each in crowd for violation in each.client.history.violations)
    return Aborted(
        on_v3=on_v3,
        closed=sum(each.closed for each in crowd),
        left_on_v3=left,
        last_start_ms=(max(starts) - began) * 1000 if starts else None,
        without_answer=sum(each.without_answer for each in crowd),
        told_to_retry=sum(each.told_to_retry for each in crowd),
        run_twice=twice,
    )
