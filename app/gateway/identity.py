"""Who a client is, as its sign-in says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection belongs to. `expires_at`: Unix seconds at which its sign-in ends, None: never."""

    user_id: str
    thread_id: str
    expires_at: float | None = None
