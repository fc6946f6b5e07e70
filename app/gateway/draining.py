"""A planned stop: running messages finish, and the sockets are closed with 1012, spread over time, so that the clients
do not all come back in the same second. New sockets are refused before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic

from app.gateway.cell import Cell
from app.gateway.session import Session

TURN_S = 0.05


async def drain(cell: Cell, seconds: float, at_once: Callable[[], bool] = lambda: False) -> None:
    """Close every socket with 1012 within `seconds`; a message still running at the end is interrupted first.

    The end is also when `at_once` becomes true.
    """
    deadline = monotonic() + seconds
    while waiting := [session for session in cell.index if session.socket is not None]:
        left_s = 0.0 if at_once() else deadline - monotonic()
        if left_s <= 0:
            for session in waiting:
                session.interrupt_all()
                session.close(1012, "restart")
            break
        share = max(1, round(len(waiting) * TURN_S / max(left_s, TURN_S)))
        idle = [session for session in waiting if _is_idle(session)]
        for session in idle[:share]:
            session.close(1012, "restart")
        for session in waiting:
            if session.transport == "websocket" and not _is_idle(session):
                cell.when_finished(session, partial(_close_if_idle, session))
        if len(idle) < len(waiting) or len(idle) > share:
            await asyncio.sleep(TURN_S)
    while cell.index.by_key and monotonic() < deadline and not at_once():  # noqa: ASYNC110 - messages end on their own
        await asyncio.sleep(TURN_S)
    for session in list(cell.index):
        session.end()


def _is_idle(session: Session) -> bool:
    return session.running is None and not session.queue


def _close_if_idle(session: Session) -> None:
    """Between two messages: a client that always has one running would never be found idle, and be interrupted."""
    if session.socket is not None and _is_idle(session):
        session.close(1012, "restart")
