"""Carries questions to the other cells of a host, all at once, and their answers within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
import structlog

from app.errors import CrossfadeError
from app.fleet.bus import Answer, Ask
from app.fleet.members import Fleet
from app.fleet.questions import Question

log = structlog.get_logger()


@dataclass(slots=True)
class _OpenQuestion:
    """A question that is not answered by all yet."""

    unanswered: set[str]
    answers: dict[str, Answer] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)


Responder = Callable[[Question, str], Awaitable[object]]
"""Answers a question of the cell that is named. Raises `CrossfadeError` to refuse."""


class HostRpc:
    """One cell's questions to the others of its host, and its answers to theirs."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._last = 0
        self._open: dict[int, _OpenQuestion] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question, limit_s: float) -> dict[str, Answer]:
        """Answers by cell of this host; without those that are silent or not done in time. Raises nothing."""
        cells = {name for name in self._fleet.bus.others() if not self._fleet.silent(name)}
        opened = _OpenQuestion(set(cells))
        self._last += 1
        self._open[number := self._last] = opened
        self._fleet.bus.tell(Ask(number, msgspec.msgpack.encode(question)))
        try:
            async with asyncio.timeout(limit_s if cells else 0):
                await opened.done.wait()
        except TimeoutError:
            if cells:
                log.warning("cells did not answer", cells=sorted(opened.unanswered))
        finally:
            del self._open[number]
        return opened.answers

    def hear_answer(self, cell: str, answer: Answer) -> None:
        """Take an answer to a question of this cell; one that comes too late is dropped."""
        opened = self._open.get(answer.number)
        if opened is not None:
            opened.answers[cell] = answer
            self._no_longer_wait(opened, {cell})

    def gone(self) -> None:
        """Cells are gone: wait no longer for their answers."""
        others = set(self._fleet.bus.others())
        for opened in self._open.values():
            self._no_longer_wait(opened, opened.unanswered - others)

    @staticmethod
    def _no_longer_wait(opened: _OpenQuestion, cells: set[str]) -> None:
        opened.unanswered -= cells
        if not opened.unanswered:
            opened.done.set()

    def hear_question(self, cell: str, ask: Ask, respond: Responder) -> None:
        """Answer another cell by `respond`, with the reason if it refuses."""
        task = asyncio.create_task(self._reply(cell, ask, respond))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, cell: str, ask: Ask, respond: Responder) -> None:
        try:
            body = await respond(msgspec.msgpack.decode(ask.question, type=Question), cell)
            answer = Answer(ask.number, msgspec.msgpack.encode(body))
        except CrossfadeError as error:
            answer = Answer(ask.number, b"", str(error))
        self._fleet.bus.tell(answer, cell)
