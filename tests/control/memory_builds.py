"""Builds without workers: what is loaded is taken as it is, and the way back is what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from app.errors import FactoryError
from rollout.builds import Served
from rollout.names import CANARY, STABLE, PathName
from rollout.views import Loaded
from tests.control.memory_cell import MemoryCell


class MemoryBuilds:
    """Implements `app.control.ports.Builds`; what v3 runs is shown by the cell."""

    def __init__(self, cell: MemoryCell, log: list[str]) -> None:
        self.started: list[dict[PathName, Served]] = []
        self.adopted: list[tuple[str, str, str]] = []
        self.prepared = ""
        """The build that waits to be adopted; empty: none does."""
        self.fails = ""
        """Why no build can be prepared; empty: every one can."""
        self.why_no_way_back: str | None = None
        self.checking = asyncio.Event()
        """Set when somebody asks for the way back."""
        self.checked = asyncio.Event()
        """Until it is set, a check of the way back does not end."""
        self.checked.set()
        self._cell = cell
        self.log = log

    async def start(self, served: Mapping[PathName, Served]) -> None:
        self.started.append(dict(served))
        if STABLE in served:
            self._cell.builds[CANARY] = None
        if canary := served.get(CANARY):
            self._cell.builds[CANARY] = canary.build or made_of(canary.source.factory)

    async def prepare(self, factory: str, python: str, build: str | None) -> str:
        if self.fails:
            self.log.append("refused")
            raise FactoryError(self.fails)
        self.prepared = build or made_of(factory)
        return self.prepared

    async def adopt(self, factory: str, python: str, build: str) -> Loaded:
        self.adopted.append((factory, python, build))
        self.log.append(f"adopted {build}")
        self.prepared = ""
        previous, self._cell.builds[CANARY] = self._cell.builds[CANARY], build
        return Loaded(build=build, previous_build=previous, sessions_moved=0, seconds=0.0)

    async def abandon(self) -> None:
        self.log.append(f"abandoned {self.prepared}")
        self.prepared = ""

    async def check_way_back(self) -> str | None:
        self.checking.set()
        await self.checked.wait()
        return self.why_no_way_back


def made_of(factory: str) -> str:
    """The id that a build makes of its code."""
    return "v3-build" if factory == "builtin" else f"digest of {factory}"
