"""What a worker keeps of an open session, and of one message while it runs.

Values and the few rules that hold for them.
"""

from __future__ import annotations

import asyncio
from typing import Literal, TypeAlias

from app.link.frames import Run
from app.supervisor.contract import Opening, SessionSupervisor

Why: TypeAlias = Literal["stopped", "timeout", "closed"]


class OpenSession:
    """One open session: who it is, its supervisor once made, and what is known of its state document."""

    __slots__ = ("document", "epoch", "exported", "key", "opening", "restored", "supervisor", "thread_id")

    def __init__(self, key: int, epoch: int, opening: Opening, document: bytes | None) -> None:
        self.key = key
        self.epoch = epoch
        self.opening = opening
        self.thread_id = opening.thread_id
        self.document = document
        """To be restored when the supervisor is made; not kept longer, for its size."""
        self.exported: int | None = None
        """Hash of the last document the gateway has: enough to say "unchanged" without keeping the bytes."""
        self.restored = True
        self.supervisor: SessionSupervisor | None = None

    def take_supervisor(self) -> SessionSupervisor | None:
        """The supervisor, which from now on is the caller's to close."""
        supervisor, self.supervisor = self.supervisor, None
        return supervisor


class RunningMessage:
    """One message between its `Run` and the end of its task."""

    __slots__ = (
        "announced",
        "at",
        "closed",
        "given_up",
        "held",
        "run",
        "run_id",
        "supervisor",
        "task",
        "thread_id",
        "touched",
        "why",
    )

    def __init__(self, held: OpenSession, run: Run, at: float) -> None:
        self.held = held
        self.run = run
        self.at = at
        self.run_id: str | None = None
        self.thread_id = held.thread_id
        """The thread that its events are about: the one it names, else the session's."""
        self.announced = False
        """Whether its `Started` was sent."""
        self.touched = False
        self.why: Why | None = None
        """Why it was cancelled; None: it was not."""
        self.closed = False
        """Its session is closed: nothing is answered."""
        self.given_up = False
        """It ignored its cancellation after a time-out; its terminal event was sent without it."""
        self.supervisor: SessionSupervisor | None = None
        self.task: asyncio.Task[None] | None = None

    def cancel(self, why: Why) -> None:
        """End it at its next await; the first reason counts. A message that was not touched yet never is."""
        if self.why is None:
            self.why = why
            if self.touched and self.task is not None:
                self.task.cancel()
