"""A supervisor with the faults of its path injected, for drills. The worker enforces the time limit of a message."""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.message_types import Request
from app.supervisor.contract import AgentEvent, SessionSupervisor
from app.supervisor.core import close_events
from app.supervisor.faults import Faults


class FaultInjected:
    """Wraps a `contract.SessionSupervisor`; without faults it costs one comparison per message."""

    __slots__ = ("__weakref__", "_faults", "_inner", "rerun_safe")

    def __init__(self, inner: SessionSupervisor, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self.rerun_safe = inner.rerun_safe

    def run(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        """The wrapped supervisor's events. Also raises `InjectedError`."""
        return self._faulty(request, run_id) if self._faults.active else self._inner.run(request, run_id)

    async def _faulty(self, request: Request, run_id: str) -> AsyncIterator[AgentEvent]:
        await self._faults.before(request)
        events = self._inner.run(request, run_id)
        try:
            async for event in events:
                yield event
        finally:
            await close_events(events)

    def export_state(self) -> bytes | None:
        return self._inner.export_state()

    def restore_state(self, document: bytes) -> None:
        self._inner.restore_state(document)

    async def close(self) -> None:
        await self._inner.close()
