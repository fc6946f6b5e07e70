"""The smallest supervisor there can be: one message in, text out, and its end is the end of the message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any


def create_supervisor(context: Any) -> Callable[[Any], AsyncIterator[str]]:
    """Called once per session; `context` says whose it is."""

    async def answer(message: Any) -> AsyncIterator[str]:
        yield f"Dear {context.user_id}, you wrote: "
        yield message.content

    return answer
