"""Runs a load test: opens the clients, lets them send, closes them, and adds up their histories."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable

from msgspec import Struct

from app.loadtest.client import Client
from app.loadtest.history import Finished
from app.loadtest.options import LoadOptions, prepare
from app.loadtest.report import CohortShare, LoadReport, quantile_ms, summarize

PROGRESS_S = 1.0
RECENT = 5000

AskShare = Callable[[LoadOptions], Awaitable[CohortShare | None]]


class Progress(Struct, frozen=True):
    """The state of a running test; `p99_ms` is that of the last messages."""

    elapsed_s: float
    open_sockets: int
    finished: int
    messages_per_second: float
    p99_ms: float | None
    errors: int
    drops: int

    def words(self) -> str:
        p99 = "no data" if self.p99_ms is None else f"{self.p99_ms:.1f} ms"
        return (
            f"{self.elapsed_s:5.0f} s  {self.open_sockets} open  {self.finished} finished  "
            f"{self.messages_per_second:.0f}/s  p99 {p99}  {self.errors} errors  {self.drops} drops"
        )


class LoadTest:
    """One load test; `await run()` once."""

    def __init__(self, options: LoadOptions, on_progress: Callable[[Progress], None] | None = None) -> None:
        self._options = options
        self._on_progress = on_progress
        self._latencies = array("d")
        self._errors: Counter[str] = Counter()
        self._clients = [Client(options, index, self._finished) for index in range(options.clients)]
        self._began = 0.0

    async def run(self, ask_share: AskShare | None = None) -> LoadReport:
        """Run the test. `ask_share` is called while all sockets are still open.

        Raises `LoadTestError` if it cannot be run as asked.
        """
        prepare(self._options)
        self._began = time.monotonic()
        ticker = asyncio.create_task(self._tick())
        try:
            await self._open()
            sending_began = time.monotonic()
            await self._send(sending_began + self._options.seconds)
            seconds = time.monotonic() - sending_began
            share = None if ask_share is None else await ask_share(self._options)
        finally:
            ticker.cancel()
            await asyncio.gather(*(client.close() for client in self._clients))
        return summarize(
            [client.history for client in self._clients],
            failures=dict(Counter(client.failure for client in self._clients if client.failure)),
            latencies_s=self._latencies,
            errors=dict(self._errors),
            sent=sum(client.sent for client in self._clients),
            seconds=seconds,
            share=share,
        )

    def stop(self) -> None:
        """Let the clients send nothing more; `run` returns when everything is answered."""
        for client in self._clients:
            client.stop()

    async def _open(self) -> None:
        gate = asyncio.Semaphore(self._options.connecting)

        async def open_one(client: Client) -> None:
            async with gate:
                await client.open()

        await asyncio.gather(*(open_one(client) for client in self._clients))

    async def _send(self, end: float) -> None:
        """Let the clients send; their starts are spread over one period, so that the load is even."""
        spread = min(1 / self._options.rate, self._options.seconds / 2) if self._options.rate else 0.0
        await asyncio.gather(*(client.send_until(end, random.uniform(0, spread)) for client in self._clients))

    def _finished(self, done: Finished) -> None:
        if done.code is None:
            self._latencies.append(done.latency_s)
        else:
            self._errors[done.code] += 1

    async def _tick(self) -> None:
        before = 0
        while self._on_progress is not None:
            await asyncio.sleep(PROGRESS_S)
            finished = len(self._latencies)
            recent = sorted(self._latencies[-RECENT:])
            self._on_progress(
                Progress(
                    elapsed_s=time.monotonic() - self._began,
                    open_sockets=sum(client.is_open for client in self._clients),
                    finished=finished,
                    messages_per_second=(finished - before) / PROGRESS_S,
                    p99_ms=quantile_ms(recent, 0.99),
                    errors=sum(self._errors.values()),
                    drops=sum(sum(client.history.drops.values()) for client in self._clients),
                )
            )
            before = finished
