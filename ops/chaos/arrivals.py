"""New sockets that arrive all the time, and when the last one was admitted by a rule that a command has replaced.

When and where a socket was admitted is taken from what the cells say about it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count

from ops.chaos.client import ChaosClient
from rollout.views import SessionView

AT_ONCE = 2
"""Sockets opened at the same time per address: enough to reach every cell, and few enough to be quick."""


class Arrivals:
    """Sockets of new users, which stay open until the end."""

    def __init__(self, urls: Sequence[str], name: str) -> None:
        self._urls = urls
        self._name = name
        self._numbers = count()
        self._over = False
        self.clients: list[ChaosClient] = []

    async def come(self, url: str) -> None:
        """Open one socket after the other until the arrivals end."""
        while not self._over:
            client = ChaosClient(url, f"{self._name}-{next(self._numbers)}")
            self.clients.append(client)
            await client.connect()

    @contextlib.asynccontextmanager
    async def coming(self) -> AsyncIterator[None]:
        """Sockets arrive until the block ends."""
        tasks = [asyncio.create_task(self.come(url)) for url in self._urls for _ in range(AT_ONCE)]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    async def leave(self) -> list[str]:
        """Close all sockets; returns what broke the delivery contract, and which sockets had been closed before."""
        dropped = [f"{client.user_id} was closed" for client in self.clients if client.wire and not client.is_open]
        await asyncio.gather(*(client.close() for client in self.clients))
        broken = [str(violation) for client in self.clients for violation in client.history.end()]
        return [*dropped, *broken]


def admitted_to(session: SessionView) -> str:
    """The path of its admission: each handover begins a new epoch on the other path."""
    if session.epoch % 2:
        return session.path
    return "v2" if session.path == "v3" else "v3"


def last_by_old_rule_ms(sessions: Iterable[SessionView], old: str, at: float) -> dict[str, float]:
    """By cell: milliseconds from `at` (Unix seconds) until the last admission to the old path; 0: none since.

    Cells that have admitted nobody to the other path yet are left out: there the old rule may still be in force.
    """
    last: dict[str, float] = {}
    renewed = set()
    for session in sessions:
        if admitted_to(session) == old:
            last[session.cell] = max(last.get(session.cell, 0.0), (session.connected_at - at) * 1000)
        elif session.connected_at > at:
            renewed.add(session.cell)
    return {cell: last.get(cell, 0.0) for cell in renewed}
