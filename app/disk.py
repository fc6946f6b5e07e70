"""Calls that may wait for a disk, made from the event loop: in a thread of their own, one at a time, with a limit.

While one call hangs, all others are refused at once, so that nobody waits behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from app.daemon_thread import DaemonThread

Result = TypeVar("Result")


class Disk:
    """One daemon thread: a disk that hangs for ever blocks no other thread, nor the end of the process."""

    def __init__(self, name: str, limit_s: float) -> None:
        """`name` is the thread's; `limit_s` is how long a call is waited for."""
        self.answered = asyncio.Event()
        """Set when a call that was given up is over after all; whoever waits for it clears it."""
        self._limit_s = limit_s
        self._thread = DaemonThread(name)
        self._overdue: asyncio.Future[Any] | None = None

    @property
    def hangs(self) -> bool:
        """Whether a call that was given up has not come back yet."""
        return self._overdue is not None and not self._overdue.done()

    async def call(self, call: Callable[..., Result], *arguments: object, limit_s: float | None = None) -> Result:
        """What `call` returns or raises; `TimeoutError` (an `OSError`) when the disk does not answer in time."""
        if self.hangs:
            raise TimeoutError("the disk has not answered an earlier call yet")
        limit_s = self._limit_s if limit_s is None else limit_s
        answer = self._thread.submit(lambda: call(*arguments))
        await asyncio.wait({answer}, timeout=limit_s)
        if not answer.done():
            self._overdue = answer
            answer.add_done_callback(self._late)
            raise TimeoutError(f"the disk did not answer within {limit_s:g} s")
        return answer.result()

    def _late(self, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled():
            answer.exception()
        self.answered.set()
