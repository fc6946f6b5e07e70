"""An accepted message, from its acceptance to its terminal event."""

from __future__ import annotations

from msgspec import Struct

from rollout.names import PathName


class AcceptedMessage(Struct, eq=False, gc=False):
    """Written by its session alone; times in monotonic seconds."""

    number: int
    message_id: str
    body: bytes
    accepted_at: float
    dispatched_at: float = 0.0
    path: PathName = "v2"
    started: bool = False
    events: int = 0
    """How many of its events were sent."""
    stopping: bool = False
    """The client asked for its end."""
    cancelled: bool = False
    """Its worker was told to stop it, for a handover."""
