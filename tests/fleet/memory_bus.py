"""A host bus within one process: messages lie there until somebody reads, and go through the wire's own encoding."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from app.fleet.bus import BusListener, BusMessage


class MemoryBus:
    """Implements `app.fleet.bus.Bus`; all on the same `board` hear each other."""

    def __init__(self, name: str, board: dict[str, MemoryBus]) -> None:
        self.name = name
        self._listener: BusListener | None = None
        self.waiting: list[tuple[str, bytes]] = []
        self.stopped = False
        """Reads nothing, as a process that stands still."""
        self.silence_s = 0.0
        self._board = board
        board[name] = self
        for bus in board.values():
            bus.tell_present()

    def open(self, listener: BusListener) -> None:
        self._listener = listener

    def tell_present(self) -> None:
        if self._listener is not None:
            self._listener.present()

    def hear(self, sender: str, message: BusMessage) -> None:
        """This comes from that cell, now."""
        assert self._listener is not None
        self._listener.hear(sender, message)

    def find(self, message: BusMessage) -> None:
        self.hear("", message)

    def others(self) -> Iterable[str]:
        return [name for name in self._board if name != self.name]

    def tell(self, message: BusMessage, to: str = "") -> None:
        body = msgspec.msgpack.encode(message)
        for name, bus in self._board.items():
            if name != self.name and to in ("", name):
                bus.waiting.append((self.name, body))

    def read(self) -> None:
        while self.waiting and not self.stopped:
            sender, body = self.waiting.pop(0)
            self.hear(sender, msgspec.msgpack.decode(body, type=BusMessage))

    def silent_s(self) -> float:
        return self.silence_s

    def leave(self) -> None:
        """The process is gone."""
        del self._board[self.name]
        for bus in self._board.values():
            bus.tell_present()


def deliver(board: dict[str, MemoryBus]) -> None:
    """Let everybody hear what was said, and what is said to that."""
    while any(bus.waiting and not bus.stopped for bus in board.values()):
        for bus in list(board.values()):
            bus.read()
