"""Asks all cells of the host at once and makes one answer of theirs: sessions, previews, errors, a new build.

What a cell answers for itself stands here too; must not know HTTP. A cell that stands still is left out of an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, islice
from typing import TypeVar

import msgspec
import structlog
from msgspec import Struct

from app.control import overview, summing
from app.control.bus import Answer, Ask
from app.control.fleet import SILENT_S, Fleet
from app.control.overview import Known
from app.control.ports import Loaded
from app.errors import CrossfadeError, FactoryError
from dashboards.views import ErrorGroup, Preview, SessionsView, SessionView, UserView
from rollout.names import Path

ANSWER_S = 1.0
"""A cell that has not answered a question by then is left out."""
LOAD_S = 600.0
"""A new build may wait for long messages to end."""
T = TypeVar("T")
log = structlog.get_logger()


class SessionsOf(Struct, frozen=True, tag="sessions"):
    path: Path | None
    limit: int
    search: str = ""
    """Part of a user id, in any case."""


class SessionsOfUser(Struct, frozen=True, tag="user"):
    user_id: str


class PreviewOf(Struct, frozen=True, tag="preview"):
    percentage: int


class Errors(Struct, frozen=True, tag="errors"):
    pass


class Load(Struct, frozen=True, tag="load"):
    factory: str
    python: str
    build: str


Question = SessionsOf | SessionsOfUser | PreviewOf | Errors | Load


class Everyone:
    """All cells of this host, asked by one of them."""

    def __init__(
        self, fleet: Fleet, known: Callable[[], Known], load: Callable[[str, str, str], Awaitable[Loaded]]
    ) -> None:
        self._fleet = fleet
        self._known = known
        self._load = load
        self._last = 0
        self._open: dict[int, tuple[set[str], dict[str, Answer], asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- for the API and the pages ------------------------------------------------------------------------------------

    async def sessions(self, path: Path | None, limit: int, search: str = "") -> SessionsView:
        """Open sessions of all cells, at most `limit`; `search` is part of a user id."""
        found = await self._all(SessionsOf(path, limit, search), SessionsView)
        return SessionsView(
            items=list(islice(chain.from_iterable(each.items for each in found), limit)),
            matching=sum(each.matching for each in found),
            total=sum(each.total for each in found),
        )

    async def user(self, user_id: str) -> UserView:
        """Where a user is, or would be on connecting, and why."""
        sessions = list(chain.from_iterable(await self._all(SessionsOfUser(user_id), list[SessionView])))
        return overview.user_view(self._known(), user_id, sessions)

    async def preview(self, percentage: int) -> Preview:
        """What a percentage would move in all cells."""
        return summing.sum_previews(await self._all(PreviewOf(percentage), Preview))

    async def errors(self) -> list[ErrorGroup]:
        """The error groups of all cells."""
        return summing.merge_errors(await self._all(Errors(), list[ErrorGroup]))

    async def load(self, factory: str, python: str, build: str) -> Loaded:
        """A new build in every cell: here first, so that one that cannot serve is refused before it is everywhere.

        Raises what `Builds.load` raises; FactoryError when another cell has refused it, which then serves the old one.
        """
        mine = await self._load(factory, python, build)
        answers = await self._ask(Load(factory, python, build or mine.build), LOAD_S)
        refusals = [f"cell {name}: {answer.refusal}" for name, answer in sorted(answers.items()) if answer.refusal]
        missing = [name for name in self._fleet.names() if name not in answers and name != self._fleet.name]
        refusals += [f"cell {name} did not answer" for name in missing]
        if refusals:
            raise FactoryError(f"build {mine.build} is loaded, but not everywhere: {'; '.join(refusals)}")
        others = [msgspec.msgpack.decode(answer.body, type=Loaded) for answer in answers.values()]
        moved = mine.sessions_moved + sum(each.sessions_moved for each in others)
        return msgspec.structs.replace(
            mine, sessions_moved=moved, seconds=max([mine.seconds, *(each.seconds for each in others)])
        )

    async def _all(self, question: Question, kind: type[T]) -> list[T]:
        asked = asyncio.ensure_future(self._ask(question, ANSWER_S))
        mine = msgspec.convert(await self._answer(question), kind)
        answers = await asked
        return [mine, *(msgspec.msgpack.decode(answer.body, type=kind) for answer in answers.values())]

    async def _ask(self, question: Question, limit_s: float) -> dict[str, Answer]:
        waited = {name for name in self._fleet.bus.others() if self._fleet.silent_s(name) <= SILENT_S}
        if not waited:
            return {}
        self._last += 1
        answers: dict[str, Answer] = {}
        done = asyncio.Event()
        self._open[number := self._last] = (waited, answers, done)
        self._fleet.bus.tell(Ask(number, msgspec.msgpack.encode(question)))
        try:
            async with asyncio.timeout(limit_s):
                await done.wait()
        except TimeoutError:
            log.warning("cells did not answer", cells=sorted(waited))
        finally:
            del self._open[number]
        return answers

    # -- what other cells ask and answer ------------------------------------------------------------------------------

    def hear_answer(self, cell: str, answer: Answer) -> None:
        """An answer to a question of this cell; one that comes too late is dropped."""
        if answer.number in self._open:
            waited, answers, done = self._open[answer.number]
            answers[cell] = answer
            waited.discard(cell)
            if not waited:
                done.set()

    def gone(self) -> None:
        """Cells are gone: nobody waits for their answers."""
        for waited, _, done in self._open.values():
            waited &= set(self._fleet.bus.others())
            if not waited:
                done.set()

    def hear_question(self, cell: str, ask: Ask) -> None:
        """Another cell asks."""

        async def reply() -> None:
            try:
                found = await self._answer(msgspec.msgpack.decode(ask.question, type=Question))
                answer = Answer(ask.number, msgspec.msgpack.encode(found))
            except CrossfadeError as error:
                answer = Answer(ask.number, b"", str(error))
            self._fleet.bus.tell(answer, cell)

        task = asyncio.create_task(reply())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: Question) -> object:
        """For this cell alone."""
        known = self._known()
        match question:
            case SessionsOf():
                return _sessions(known, question)
            case SessionsOfUser(user_id=user_id):
                return known.cell.sessions_of(user_id)
            case PreviewOf(percentage=percentage):
                return overview.preview(known, percentage)
            case Errors():
                return known.ledger.errors.view()
            case Load(factory=factory, python=python, build=build):
                return await self._load(factory, python, build)


def _sessions(known: Known, question: SessionsOf) -> SessionsView:
    wanted = question.search.casefold()
    every = list(known.cell.sessions())
    found = [
        session
        for session in every
        if (question.path is None or session.path == question.path) and wanted in session.user_id.casefold()
    ]
    return SessionsView(items=found[: question.limit], matching=len(found), total=len(every))
