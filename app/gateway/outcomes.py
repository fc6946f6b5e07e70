"""The last messages of a session: their ids against duplicates, and how they ended for a client that comes back.

Knows neither sockets nor formats; bounded to the last 256 ids; a client that comes back is told the last 64 outcomes.
"""

from __future__ import annotations

DUPLICATE_WINDOW = 256
OUTCOMES = 64


class Recent:
    """Ids in the order in which they were accepted, each with its terminal event (None while it is not finished)."""

    __slots__ = ("_ids", "_outcomes")

    def __init__(self) -> None:
        self._ids: dict[str, str | None] = {}
        self._outcomes: dict[str, str] = {}

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def outcome(self, message_id: str) -> str | None:
        return self._ids.get(message_id)

    def begin(self, message_id: str) -> None:
        """Accepted; what became of an earlier, interrupted sending of this id is no longer its outcome."""
        self._ids[message_id] = None
        self._outcomes.pop(message_id, None)
        if len(self._ids) > DUPLICATE_WINDOW:
            del self._ids[next(iter(self._ids))]

    def finish(self, message_id: str, terminal: str) -> None:
        if message_id in self._ids:
            self._ids[message_id] = terminal
        self._remember(message_id, terminal)

    def forget(self, message_id: str, terminal: str) -> None:
        """Its retry shall run: out of the duplicate window; the outcome is still told."""
        self._ids.pop(message_id, None)
        self._remember(message_id, terminal)

    def outcomes(self) -> list[tuple[str, str]]:
        """The last (message_id, terminal), oldest first: what a client is told."""
        return list(self._outcomes.items())[-OUTCOMES:]

    def history(self) -> list[tuple[str, str]]:
        """All that is known of finished messages, for `restore`: the duplicate window is kept through a resume."""
        return list(self._outcomes.items())

    def restore(self, history: list[tuple[str, str]]) -> None:
        """Take up the window of an earlier connection."""
        for message_id, terminal in history:
            if terminal != "interrupted":
                self._ids[message_id] = terminal
            self._outcomes[message_id] = terminal

    def _remember(self, message_id: str, terminal: str) -> None:
        self._outcomes.pop(message_id, None)
        self._outcomes[message_id] = terminal
        if len(self._outcomes) > DUPLICATE_WINDOW:
            del self._outcomes[next(iter(self._outcomes))]
