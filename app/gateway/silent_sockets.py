"""Closes sockets whose client is gone without a word, when their user needs the place for a new one.

The heartbeat finds them, too, but up to two of its periods later; until then they would lock their user out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.gateway.ports import ClientSocket

ANSWER_S = 1.0
"""A client answers a ping within this time, or it is gone."""
UNREAD_S = 0.05
"""For what had arrived by then and was not read yet, because this process was busy."""
MOST_WAITING = 64


class SilentSockets:
    """One for the cell."""

    def __init__(
        self,
        sockets_of: Callable[[str], Sequence[ClientSocket]],
        *,
        most_of_user: int,
        answer_s: float = ANSWER_S,
    ) -> None:
        """`most_of_user`: handshakes of one user that may wait at once; of all, it is `MOST_WAITING`."""
        self._sockets_of = sockets_of
        self._most_of_user = most_of_user
        self._answer_s = answer_s
        self._asking: dict[str, asyncio.Task[None]] = {}
        """By user: who is asked is asked once, however many wait for it."""
        self._waiting: dict[str, int] = {}

    async def close_silent(self, user_id: str) -> None:
        """Ping the user's sockets; return when all have answered, or when those that did not are closed.

        When too many wait already it returns at once.
        """
        waiting = self._waiting.get(user_id, 0)
        if waiting >= self._most_of_user or sum(self._waiting.values()) >= MOST_WAITING:
            return
        asking = self._asking.get(user_id)
        if asking is None:
            asking = self._asking[user_id] = asyncio.create_task(self._ask(user_id), name="silent-sockets")
        self._waiting[user_id] = waiting + 1
        try:
            await asyncio.wait({asking})
        finally:
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id]

    async def _ask(self, user_id: str) -> None:
        try:
            asked = {socket.ask(): socket for socket in self._sockets_of(user_id)}
            if not asked:
                return
            _, silent = await asyncio.wait(asked, timeout=self._answer_s)
            if silent:
                _, silent = await asyncio.wait(silent, timeout=UNREAD_S)
            for answer in silent:
                asked[answer].drop()
        finally:
            del self._asking[user_id]
