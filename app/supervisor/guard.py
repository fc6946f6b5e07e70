"""What the worker gets around any supervisor: the limit on a message's time, and the faults of a drill.

It must not know whose supervisor it wraps or what its events mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from app.messages import Request
from app.supervisor.contract import TERMINAL, AgentEvent, Supervisor
from app.supervisor.core import close_events
from app.supervisor.errors import MessageTimeout
from app.supervisor.faults import Faults

_TOO_LONG = "the message took too long"


class _Deadline:
    """One timer for a whole run; `asyncio.timeout` around each event would set one per event."""

    __slots__ = ("_cancelling", "_task", "_timer", "_woken", "expired")

    def __init__(self, limit_s: float) -> None:
        self._task: asyncio.Task[object] | None = None
        self._woken: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.expired = False
        self._timer = asyncio.get_running_loop().call_later(limit_s, self._expire)

    def _expire(self) -> None:
        self.expired = True
        if self._task is not None:
            self._woken = self._task
            self._task.cancel()

    def wait(self) -> None:
        """From now on the current task waits for the supervisor: it is the one to wake when time is up."""
        if self.expired:
            raise MessageTimeout(_TOO_LONG)
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0

    def pause(self) -> None:
        """The supervisor has answered; the task is its own again."""
        self._task = None

    def caused(self) -> bool:
        """Whether a cancellation that arrived while waiting came from here and from nobody else."""
        woken, self._woken = self._woken, None
        return woken is not None and woken.uncancel() <= self._cancelling

    def stop(self) -> None:
        """No more timer; a cancellation that the supervisor swallowed is taken back from the task."""
        self._task = None
        if self._woken is not None:
            self._woken.uncancel()
        self._timer.cancel()


class Guarded:
    """A `contract.Supervisor` around another: injects the path's faults, and ends a message after `limit_s` seconds.

    Without a limit (None) it is the caller who ends what runs too long.
    """

    __slots__ = ("__weakref__", "_faults", "_inner", "_limit_s", "rerun_safe")

    def __init__(self, inner: Supervisor, faults: Faults, limit_s: float | None) -> None:
        self._inner = inner
        self._faults = faults
        self._limit_s = limit_s
        self.rerun_safe = inner.rerun_safe

    def run(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        """The inner supervisor's events. Raises also `MessageTimeout` and `InjectedError`."""
        if self._limit_s is None:
            # Nothing to guard costs nothing: the worker ends what runs too long with one sweep over all messages.
            return self._faulty(request, run_id) if self._faults.active else self._inner.run(request, run_id)
        return self._timed(request, run_id, self._limit_s)

    async def _faulty(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        await self._faults.before(request)
        events = self._inner.run(request, run_id)
        try:
            async for event in events:
                yield event
        finally:
            await close_events(events)

    async def _timed(self, request: Request, run_id: str, limit_s: float) -> AsyncIterator[AgentEvent]:
        deadline = _Deadline(limit_s)
        events = self._inner.run(request, run_id)
        try:
            deadline.wait()
            if self._faults.active:
                await self._faults.before(request)
            async for event in events:
                deadline.pause()
                yield event
                if event.type in TERMINAL:
                    return
                deadline.wait()
            deadline.wait()
        except BaseException as error:
            # Whatever a supervisor makes of being cancelled, it was the time that ended the message.
            if deadline.caused():
                raise MessageTimeout(_TOO_LONG) from error
            raise
        finally:
            deadline.stop()
            await close_events(events)

    def export_state(self) -> bytes | None:
        return self._inner.export_state()

    def restore_state(self, document: bytes) -> None:
        self._inner.restore_state(document)

    async def close(self) -> None:
        await self._inner.close()
