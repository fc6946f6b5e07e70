"""The last messages of a session: their ids, against duplicates, and their outcomes, for a client that comes back."""

from __future__ import annotations

DUPLICATE_WINDOW = 256
OUTCOMES = 64
"""A client that comes back is told the outcomes of its last messages, this many at most."""
INTERRUPTED = "interrupted"
"""Outcome of a message whose id may be sent again: it is known, but no duplicate."""


class RecentMessages:
    """Ids in the order in which they were accepted, each with its terminal event (None while it is not finished)."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: dict[str, str | None] = {}

    def __contains__(self, message_id: str) -> bool:
        """Whether sending this id again is a duplicate."""
        return message_id in self._ids and self._ids[message_id] != INTERRUPTED

    def outcome(self, message_id: str) -> str | None:
        return self._ids.get(message_id)

    def begin(self, message_id: str) -> None:
        """The message was accepted; the outcome of an earlier, interrupted one with this id no longer counts."""
        ids = self._ids
        if message_id in ids:
            del ids[message_id]
        elif len(ids) >= DUPLICATE_WINDOW:
            del ids[next(iter(ids))]
        ids[message_id] = None

    def finish(self, message_id: str, terminal: str) -> None:
        if message_id in self._ids:
            self._ids[message_id] = terminal

    def forget(self, message_id: str) -> None:
        """It was interrupted: its id may be sent again. The outcome is still told."""
        self.finish(message_id, INTERRUPTED)

    def outcomes(self) -> list[tuple[str, str]]:
        """The last (message_id, terminal), in the order of acceptance: what a client is told."""
        finished = [(message_id, terminal) for message_id, terminal in self._ids.items() if terminal is not None]
        return finished[-OUTCOMES:]

    def history(self) -> dict[str, str | None]:
        """All ids, for `restore`: the duplicate window survives a resume."""
        return self._ids.copy()

    def restore(self, history: dict[str, str | None]) -> None:
        """Continue the window of an earlier session; messages that had not ended then are not in it."""
        self._ids.update((message_id, terminal) for message_id, terminal in history.items() if terminal is not None)
