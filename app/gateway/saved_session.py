"""What is kept of a session for a client that comes back, in this cell and in the store."""

from __future__ import annotations

from msgspec import Struct


class SavedSession(Struct, frozen=True):
    """A session as it was when it ended, or when its document changed last."""

    user_id: str
    thread_id: str
    document: bytes | None
    outcomes: dict[str, str | None]
    """`RecentMessages.history`, which is more than a client is told."""
    last_number: int
    expires_at: float
    """Unix seconds; afterwards nobody can resume it."""
    complete: bool
    """False: saved while the session lived (write-behind); what came after it is missing."""
