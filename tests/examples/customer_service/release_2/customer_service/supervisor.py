"""Release 2: as release 1, and shows the work as events: what it thinks, which tool it uses and what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any


class Desk:
    """One customer's desk; nothing of it is shared with another customer."""

    # A note is written when the message is answered; running a message again that was not answered harms nobody.
    rerun_safe = True

    def __init__(self, customer: str) -> None:
        self.customer = customer
        self.notes = 0

    async def run(self, message: Any) -> AsyncIterator[dict[str, object]]:
        """One message in, events out."""
        yield {"type": "agent_thinking", "payload": {"text": "looking at your ticket"}}
        yield {"type": "tool_executing", "payload": {"tool_name": "ticket"}}
        notes = self.notes if message.content == "status" else self.notes + 1
        yield {"type": "tool_completed", "payload": {"tool_name": "ticket", "results": {"notes": notes}}}
        self.notes = notes
        yield {"type": "agent_completed", "payload": {"content": f"{self.customer}: {notes} notes, we are on it"}}

    def export_state(self) -> dict[str, object]:
        """What a handover carries; release 1 reads `notes` and nothing else."""
        return {"notes": self.notes, "release": 2}

    def restore_state(self, state: dict[str, Any], document: dict[str, Any]) -> None:
        """Go on from what either release kept, on either path; the larger number is the newer one."""
        parts = (state, document["v2"] or {}, document["v3"] or {})
        self.notes = max(part.get("notes", 0) for part in parts)


async def create_supervisor(context: Any) -> Desk:
    """Called once per session; may be async."""
    return Desk(context.user_id)
