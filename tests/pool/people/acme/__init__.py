"""Factories as people write them, good and bad ones, for workers in tests."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import repeat
from typing import Protocol


class Message(Protocol):
    """What a run is given."""

    content: str


Run = Callable[[Message], AsyncIterator[str]]


def create(context: object) -> Run:
    async def run(message: Message) -> AsyncIterator[str]:
        yield f"own: {message.content}"

    return run


def raises(context: object) -> Run:
    raise RuntimeError("not today,\nand not tomorrow")


def holds_the_interpreter(context: object) -> Run:
    """Its runs never end and never let another thread of the process run, as a bad regular expression can."""

    async def run(message: Message) -> AsyncIterator[str]:
        yield "x"
        if message.content == "hold":
            deque(repeat(0), maxlen=0)

    return run


def breaks_the_link(context: object) -> Run:
    """Its runs write garbage into the socket that this process was given: the link to the gateway."""

    async def run(message: Message) -> AsyncIterator[str]:
        yield "x"
        if message.content == "x":
            _write_garbage()

    return run


def _write_garbage() -> None:
    for descriptor in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as link:
                link.getpeername()
                if link.family == socket.AF_UNIX:
                    link.send(b"\xff" * 64)
        except OSError:
            continue
