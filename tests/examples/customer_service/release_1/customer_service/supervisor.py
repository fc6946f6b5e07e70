"""Release 1: counts a customer's notes on a ticket, and says at any time how many there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any


class Desk:
    """One customer's desk; nothing of it is shared with another customer."""

    def __init__(self, customer: str) -> None:
        self.customer = customer
        self.notes = 0

    async def run(self, message: Any) -> AsyncIterator[str]:
        """One message in, text out."""
        if message.content != "status":
            self.notes += 1
        yield f"{self.customer}: {self.notes} notes on your ticket"

    def export_state(self) -> dict[str, object]:
        """What a handover carries."""
        return {"notes": self.notes}

    def restore_state(self, state: dict[str, Any], document: dict[str, Any]) -> None:
        """Go on from what either release kept, on either path; the larger number is the newer one."""
        parts = (state, document["v2"] or {}, document["v3"] or {})
        self.notes = max(part.get("notes", 0) for part in parts)


def create_supervisor(context: Any) -> Desk:
    """Called once per session."""
    return Desk(context.user_id)
