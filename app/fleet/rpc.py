"""Questions to the other cells of a host: asked at once, answered within a time, and who was not heard.

It carries questions and answers; must not know what they say.
"""

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
class _Question:
    """A question on its way."""

    waited: set[str]
    answers: dict[str, Answer] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)


Responder = Callable[[Question, str], Awaitable[object]]
"""Makes an answer of a question and of the name of the cell that asks. Raises `CrossfadeError` to refuse."""


class HostRpc:
    """One cell's questions to the others of its host, and its answers to theirs."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._last = 0
        self._open: dict[int, _Question] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question, limit_s: float) -> dict[str, Answer]:
        """Answers by cell of this host; one that is silent, or not done in time, is missing. Raises nothing."""
        waited = {name for name in self._fleet.bus.others() if not self._fleet.silent(name)}
        asked = _Question(set(waited))
        self._last += 1
        self._open[number := self._last] = asked
        self._fleet.bus.tell(Ask(number, msgspec.msgpack.encode(question)))
        try:
            async with asyncio.timeout(limit_s if waited else 0):
                await asked.done.wait()
        except TimeoutError:
            if waited:
                log.warning("cells did not answer", cells=sorted(asked.waited))
        finally:
            del self._open[number]
        return asked.answers

    def hear_answer(self, cell: str, answer: Answer) -> None:
        """An answer to a question of this cell; one that comes too late is dropped."""
        asked = self._open.get(answer.number)
        if asked is not None:
            asked.answers[cell] = answer
            self._came(asked, {cell})

    def gone(self) -> None:
        """Cells are gone: nobody waits for their answers."""
        there = set(self._fleet.bus.others())
        for asked in self._open.values():
            self._came(asked, asked.waited - there)

    @staticmethod
    def _came(asked: _Question, cells: set[str]) -> None:
        asked.waited -= cells
        if not asked.waited:
            asked.done.set()

    def hear_question(self, cell: str, ask: Ask, respond: Responder) -> None:
        """Another cell asks, and is answered by `respond`, or told why not."""
        task = asyncio.create_task(self._reply(cell, ask, respond))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, cell: str, ask: Ask, respond: Responder) -> None:
        try:
            found = await respond(msgspec.msgpack.decode(ask.question, type=Question), cell)
            answer = Answer(ask.number, msgspec.msgpack.encode(found))
        except CrossfadeError as error:
            answer = Answer(ask.number, b"", str(error))
        self._fleet.bus.tell(answer, cell)
