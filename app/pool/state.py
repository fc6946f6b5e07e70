"""The state of one path in a cell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathState:
    """One path of a cell, now; None: not known (yet)."""

    available: bool
    reason: str | None
    """Why it is not available, for a person; None when it is."""
    build: str | None
    sessions: int
    users: int
    memory_bytes: int | None
    session_memory_bytes: float | None
    restarts: int
    uptime_s: float | None
    exports_state: bool | None = None
    """Whether its sessions take their state along when they leave it."""
