"""Questions to all cells of a host, asked through any of them, and this cell's own answers: sessions, a user, previews,
errors.

An answer names the cells that it leaves out: cells of this host that stand still, and those of other hosts, except in
previews, for which their reports in the store are enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from heapq import merge, nsmallest
from itertools import chain, islice
from typing import TypeVar

import msgspec

from app.control import views
from app.control.views import Snapshot
from app.fleet import census
from app.fleet.bus import CellFigures
from app.fleet.census import Census
from app.fleet.members import Fleet
from app.fleet.questions import CensusOf, ErrorsOf, FiguresOf, Question, SessionKey, SessionsOf, SessionsOfUser, Wanted
from app.fleet.rpc import HostRpc
from app.metrics import error_groups
from app.metrics.error_groups import GroupCount
from rollout.names import CANARY, STABLE, PathName
from rollout.views import ErrorsView, Preview, SessionsView, SessionView, UserView

ANSWER_S = 1.0
"""A cell that has not answered within this time is left out."""
T = TypeVar("T")


class FleetQueries:
    """All cells of this host, asked by one of them."""

    def __init__(self, fleet: Fleet, rpc: HostRpc, snapshot: Callable[[], Snapshot]) -> None:
        self._fleet = fleet
        self._rpc = rpc
        self._snapshot = snapshot

    async def sessions(
        self, path: PathName | None, limit: int, search: str = "", after: SessionKey | None = None
    ) -> SessionsView:
        """Open sessions of all cells by user, at most `limit`; `search` is part of a user id."""
        answers = await self._all(SessionsOf(path, limit, search, after), SessionsView)
        return SessionsView(
            items=list(islice(merge(*(each.items for each in answers.values()), key=_key), limit)),
            before=sum(each.before for each in answers.values()),
            matching=sum(each.matching for each in answers.values()),
            total=sum(each.total for each in answers.values()),
            missing_cells=self._missing(answers),
        )

    async def user(self, user_id: str) -> UserView:
        """Where a user is, or would be on connecting, and why."""
        answers = await self._all(SessionsOfUser(user_id), list[SessionView])
        view = views.user_view(self._snapshot(), user_id, list(chain.from_iterable(answers.values())))
        return msgspec.structs.replace(view, missing_cells=self._missing(answers))

    async def preview(self, percentage: int) -> Preview:
        """Whom a percentage would move, in all cells; those of other hosts as they were a second ago."""
        return (await self.previews([percentage]))[percentage]

    async def previews(self, percentages: Collection[int]) -> Mapping[int, Preview]:
        """The same for several percentages, with one count of all users."""
        answers = await self._all(CensusOf(), Census)
        for name, figures in self._fleet.others().items():
            if name not in answers and figures.census is not None:
                answers[name] = figures.census
        everybody, missing = census.together(answers.values()), self._missing(answers)
        return {percentage: self._preview(everybody, percentage, missing) for percentage in percentages}

    def _preview(self, everybody: Census, percentage: int, missing: list[str]) -> Preview:
        preview = everybody.preview(percentage)
        snapshot, without = self._snapshot(), 0
        if views.exports_state(snapshot, STABLE) is False:
            without += preview.sessions_to_v3
        if views.exports_state(snapshot, CANARY) is False:
            without += preview.sessions_to_v2
        return msgspec.structs.replace(preview, sessions_without_state=without, missing_cells=missing)

    async def errors(self) -> ErrorsView:
        """The error groups of all cells."""
        answers = await self._all(ErrorsOf(), list[GroupCount])
        return ErrorsView(items=error_groups.merge(answers.values()), missing_cells=self._missing(answers))

    async def figures(self) -> Mapping[str, CellFigures]:
        """What each cell of this host has counted by now; without those that do not answer."""
        return await self._all(FiguresOf(), CellFigures)

    async def session_wanted(self, digest: str, limit_s: float) -> bool:
        """Tell the other cells of this host that a client came back here; whether one of them had its session."""
        answers = await self._rpc.ask(Wanted(digest), limit_s)
        return any(not each.refusal and msgspec.msgpack.decode(each.body, type=bool) for each in answers.values())

    async def _all(self, question: Question, kind: type[T]) -> dict[str, T]:
        """Answers by cell, this one's first."""
        asked = asyncio.ensure_future(self._rpc.ask(question, ANSWER_S))
        answers = {self._fleet.name: msgspec.convert(self.answer(question), kind)}
        for name, answer in (await asked).items():
            if not answer.refusal:
                answers[name] = msgspec.msgpack.decode(answer.body, type=kind)
        return answers

    def _missing(self, answered: Collection[str]) -> list[str]:
        return [name for name in self._fleet.names() if name not in answered]

    def answer(self, question: Question) -> object:
        """This cell's own answer. Raises `LookupError` for a question that is not about people or errors."""
        snapshot = self._snapshot()
        match question:
            case SessionsOf():
                return _sessions(snapshot, question)
            case SessionsOfUser(user_id=user_id):
                return snapshot.cell.sessions_of(user_id)
            case CensusOf():
                return views.own_census(snapshot)
            case ErrorsOf():
                return snapshot.counters.errors.counts()
            case FiguresOf():
                return views.own_figures(snapshot)
            case _:
                raise LookupError(question)


def _sessions(snapshot: Snapshot, question: SessionsOf) -> SessionsView:
    search = question.search.casefold()
    sessions = list(snapshot.cell.sessions())
    matching = [
        session
        for session in sessions
        if (question.path is None or session.path == question.path) and search in session.user_id.casefold()
    ]
    after = question.after
    rest = matching if after is None else [session for session in matching if _key(session) > after]
    return SessionsView(
        items=nsmallest(question.limit, rest, _key),
        before=len(matching) - len(rest),
        matching=len(matching),
        total=len(sessions),
    )


def _key(session: SessionView) -> SessionKey:
    return session.user_id, session.connection_id
