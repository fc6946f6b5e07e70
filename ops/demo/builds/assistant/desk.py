"""One customer's conversation: answers after a short pause, and counts its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

THOUGHT_S = 0.1


class Desk:
    """It shares nothing with another customer. Each answer contains `release`."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.answered = 0

    async def run(self, message: Any) -> AsyncIterator[dict[str, object]]:
        """The events of one message."""
        yield {"type": "agent_thinking", "payload": {"text": "one moment"}}
        await asyncio.sleep(THOUGHT_S)
        self.before_answer(message)
        self.answered += 1
        yield {"type": "agent_completed", "payload": {"content": f"answer {self.answered} by release {self.release}"}}

    def before_answer(self, message: Any) -> None:
        """Hook for what a release does in addition."""

    def export_state(self) -> dict[str, object]:
        """The state that a handover carries."""
        return {"answered": self.answered}

    def restore_state(self, state: dict[str, Any], document: dict[str, Any]) -> None:
        """Continue from the state of either path; the larger number is the newer one."""
        parts = (state, document["v2"] or {}, document["v3"] or {})
        self.answered = max(part.get("answered", 0) for part in parts)
