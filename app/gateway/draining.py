"""A planned stop: running messages finish, and the sockets are closed with 1012, spread over time, so that the clients
do not all come back in the same second. New sockets are refused before.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from app.gateway.cell import Cell

TURN_S = 0.05


async def drain(cell: Cell, seconds: float) -> None:
    """Close every socket with 1012 within `seconds`; a message still running at the end is interrupted first."""
    deadline = monotonic() + seconds
    while waiting := [session for session in cell.index if session.socket is not None]:
        left_s = deadline - monotonic()
        if left_s <= 0:
            for session in waiting:
                session.interrupt_all()
                session.close(1012, "restart")
            break
        share = max(1, round(len(waiting) * TURN_S / max(left_s, TURN_S)))
        idle = [session for session in waiting if session.running is None and not session.queue]
        for session in idle[:share]:
            session.close(1012, "restart")
        if len(idle) < len(waiting) or len(idle) > share:
            await asyncio.sleep(TURN_S)
    while cell.index.by_key and monotonic() < deadline:  # noqa: ASYNC110 - their messages end on their own
        await asyncio.sleep(TURN_S)
    for session in list(cell.index):
        session.end()
