"""Builds without workers: what is loaded is taken as it is, and the way back is what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rollout.builds import Served
from rollout.names import PathName
from rollout.views import Loaded


class MemoryBuilds:
    """Implements `app.control.ports.Builds`."""

    def __init__(self) -> None:
        self.started: list[dict[PathName, Served]] = []
        self.adopted: list[tuple[str, str, str]] = []
        self.why_no_way_back: str | None = None
        self.checking = asyncio.Event()
        """Set when somebody asks for the way back."""
        self.checked = asyncio.Event()
        """Until it is set, a check of the way back does not end."""
        self.checked.set()

    async def start(self, served: Mapping[PathName, Served]) -> None:
        self.started.append(dict(served))

    async def prepare(self, factory: str = "", python: str = "", build: str | None = None) -> str:
        return build or "made"

    async def adopt(self, factory: str, python: str, build: str) -> Loaded:
        self.adopted.append((factory, python, build))
        return Loaded(build=build, previous_build=None, sessions_moved=0, seconds=0.0)

    async def abandon(self) -> None:
        """Nothing was started."""

    async def check_way_back(self) -> str | None:
        self.checking.set()
        await self.checked.wait()
        return self.why_no_way_back
