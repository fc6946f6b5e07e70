"""A new build of v3 in all cells of this host or in none: prepared and checked everywhere, and only then adopted.

Other hosts have files of their own: their cells are named as missing, and a command to one of them loads there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import msgspec

from app.control.ports import Builds
from app.errors import CrossfadeError, FactoryError
from app.fleet.members import Fleet
from app.fleet.questions import Abandon, Adopt, Prepare
from app.fleet.rpc import HostRpc
from rollout.builds import BuildSource
from rollout.views import Loaded

ADOPT_S = 600.0
"""The last message in an old worker may take long to end."""
LATER_S = 10.0
"""A cell that has not answered so long after a worker must have been ready is given up."""


class Deployments:
    """The loads that this cell leads, and its part in those of others. One at a time on a host."""

    def __init__(self, fleet: Fleet, rpc: HostRpc, builds: Builds, start_s: float) -> None:
        """A worker may take `start_s` seconds to be ready."""
        self._fleet = fleet
        self._rpc = rpc
        self._builds = builds
        self._prepare_s = start_s + LATER_S
        self._leader = ""
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the cell that leads ------------------------------------------------------------------------------------------

    async def load(self, source: BuildSource, build: str, record: Callable[[str], Awaitable[None]]) -> Loaded:
        """A new build for the sessions that are there and for those that come.

        When every cell has checked it, `record` writes its id down; only then does any cell serve it. Raises what
        `record` raises, and `FactoryError` and `StateIncompatible` with the cell and its reason; every cell serves the
        old one then.
        """
        self._require_heard()
        build = await self._prepare_all(Prepare(source.factory, source.python, build))
        try:
            await record(build)
        except BaseException:
            self._spawn(self._abandon_all())
            raise
        loaded, refusals = await self._adopt_all(Adopt(source.factory, source.python, build))
        if refusals:
            raise FactoryError(f"build {build} is loaded, but has died since it was checked: {_words(refusals)}")
        slowest = max(each.seconds for each in loaded.values())
        return msgspec.structs.replace(
            loaded[self._fleet.name],
            sessions_moved=sum(each.sessions_moved for each in loaded.values()),
            seconds=slowest,
            cells=sorted(loaded),
            missing_cells=[name for name in self._fleet.names() if name not in loaded],
        )

    def _require_heard(self) -> None:
        silent = [name for name in self._fleet.names_here() if self._fleet.silent(name)]
        if refusals := {name: f"silent for {self._fleet.silent_s(name):.0f} s" for name in silent}:
            raise FactoryError(f"v3 stays as it is in every cell: {_words(refusals)}")

    async def _prepare_all(self, question: Prepare) -> str:
        """The build's id. Here first, so that one that cannot serve is not started everywhere."""
        build = await self.prepare(question, self._fleet.name)
        try:
            answers = await self._rpc.ask(question, self._prepare_s)
            refusals = {name: answer.refusal for name, answer in answers.items() if answer.refusal}
            for name in self._fleet.names_here():
                if name not in answers and name != self._fleet.name:
                    refusals[name] = "no answer"
                elif name not in refusals and name in answers and (found := _build(answers[name].body)) != build:
                    refusals[name] = f"it has found build {found}, and cell {self._fleet.name} build {build}"
            if refusals:
                raise FactoryError(f"v3 stays as it is in every cell: {_words(refusals)}")
        except BaseException:
            # Nobody waits for these answers: a cell hears of it before any other question of ours.
            self._spawn(self._abandon_all())
            raise
        return build

    async def _adopt_all(self, question: Adopt) -> tuple[dict[str, Loaded], dict[str, str]]:
        asked = asyncio.ensure_future(self._rpc.ask(question, ADOPT_S))
        loaded: dict[str, Loaded] = {}
        refusals: dict[str, str] = {}
        try:
            loaded[self._fleet.name] = await self.adopt(question)
        except CrossfadeError as error:
            refusals[self._fleet.name] = str(error)
        for name, answer in (await asked).items():
            if answer.refusal:
                refusals[name] = answer.refusal
            else:
                loaded[name] = msgspec.msgpack.decode(answer.body, type=Loaded)
        return loaded, refusals

    async def _abandon_all(self) -> None:
        await asyncio.gather(self._rpc.ask(Abandon(), self._prepare_s), self.abandon(self._fleet.name))

    @property
    def busy(self) -> bool:
        """Whether this cell has prepared a build that is not adopted or abandoned yet."""
        return self._leader != ""

    # -- every cell ---------------------------------------------------------------------------------------------------

    async def prepare(self, question: Prepare, leader: str) -> str:
        """A worker of this build beside the one that serves; its id. Raises as `load`."""
        if self._leader:
            raise FactoryError(f"a load that cell {self._leader} was given is not over yet")
        self._leader = leader
        try:
            return await self._builds.prepare(question.factory, question.python, question.build or None)
        except BaseException:
            self._leader = ""
            raise

    async def adopt(self, question: Adopt) -> Loaded:
        """Let it serve, and wait until the old one holds nobody. Raises as `load`."""
        try:
            return await self._builds.adopt(question.factory, question.python, question.build)
        finally:
            self._leader = ""

    async def abandon(self, leader: str) -> None:
        """What this cell has prepared for that leader is stopped. Raises nothing."""
        if self._leader == leader:
            await self._builds.abandon()
            self._leader = ""

    def gone(self) -> None:
        """Cells are gone: nobody will say whether what was prepared for them is adopted."""
        if self._leader and self._leader not in self._fleet.names_here():
            self._spawn(self.abandon(self._leader))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _build(answer: bytes) -> str:
    return msgspec.msgpack.decode(answer, type=str)


def _words(refusals: dict[str, str]) -> str:
    return "; ".join(f"cell {name}: {reason}" for name, reason in sorted(refusals.items()))
