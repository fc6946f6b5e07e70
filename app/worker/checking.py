"""The two proofs a worker gives before users are on it: a short exchange, and that it can go on from a document.

Both use scratch supervisors of one fixed identity, the same in every worker, which no session ever sees.
"""

from __future__ import annotations

import asyncio
import logging

from app.link.frames import Checked
from app.message_types import Request
from app.supervisor.contract import DOCUMENT_BYTES, Opening, PathServing, SessionSupervisor
from app.supervisor.threads import new_thread_id

SCRATCH_USER = "crossfade-check"
EXCHANGE_S = 5.0

_log = logging.getLogger("crossfade.worker")


def scratch_opening(thread_secret: bytes) -> Opening:
    """Who the scratch supervisors work for."""
    return Opening("crossfade-check", SCRATCH_USER, new_thread_id(SCRATCH_USER, thread_secret), 0.0)


async def make_sample(serving: PathServing, opening: Opening) -> bytes | None:
    """Warm up with one exchange; the state document after it. Raises what `make` raises.

    An exchange that fails is logged only: an agent whose service is down for a moment must not stop a path.
    """
    supervisor = await serving.make(opening)
    try:
        async with asyncio.timeout(EXCHANGE_S):
            await _exchange(supervisor)
    except Exception as error:
        _log.warning("the exchange before the start failed", exc_info=error)
    try:
        return supervisor.export_state() if serving.exports_state else None
    finally:
        await supervisor.close()


async def _exchange(supervisor: SessionSupervisor) -> None:
    async for _ in supervisor.run(Request("message", "hello"), "r-warm-up"):
        pass


async def check(serving: PathServing, opening: Opening, count: int, document: bytes) -> Checked:
    """Restore this document on a scratch supervisor and export it again."""
    if not serving.exports_state:
        return Checked(count, False, "this path carries no state")
    try:
        supervisor = await serving.make(opening)
        try:
            supervisor.restore_state(document)
            exported = supervisor.export_state()
        finally:
            await supervisor.close()
    except Exception as error:  # what people's own supervisors raise here is for the operator who loads them
        return Checked(count, False, f"{type(error).__name__}: {error}")
    if exported is None or len(exported) > DOCUMENT_BYTES:
        return Checked(count, False, "it restored the document but does not export one within the bound")
    return Checked(count, True)
