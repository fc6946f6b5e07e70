"""The operator of the demo: reads the rollout and commands it through the public API, as the commands and the page
do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx
import msgspec
from msgspec import Struct

from ops.demo.processes import DemoError, Running
from rollout.views import ErrorGroup, PathFigures, RolloutView

LOOK_S = 0.02
"""Seconds between looks, and so the precision of the times that it saw."""


class Loaded(Struct, frozen=True):
    """The answer to `load`."""

    build: str
    sessions_moved: int
    seconds: float


class Operator:
    """Commands raise `DemoError` with the service's text if it refuses or does not answer."""

    def __init__(self, running: Running) -> None:
        headers = {"Authorization": f"Bearer {running.token}", "Accept": "application/json"}
        self._http = httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def look(self) -> RolloutView:
        """`crossfade status`."""
        return msgspec.json.decode(await self._ask("GET", "/api/rollout"), type=RolloutView)

    async def interrupted_on_v3(self) -> int:
        """Messages that ended as `interrupted` because v3's worker died with them."""
        groups = msgspec.json.decode(await self._ask("GET", "/api/errors"), type=list[ErrorGroup])
        return sum(group.count for group in groups if group.path == "v3" and group.code == "interrupted")

    async def command(self, verb: str, reason: str, **body: object) -> None:
        """`crossfade VERB`, based on the current revision."""
        revision = (await self.look()).revision
        await self._ask("POST", f"/api/rollout/{verb}", {"reason": reason, **body}, revision)

    async def load(self, release: str, reason: str, *, live: bool) -> Loaded:
        """`crossfade load v3`; answered when the old build is gone."""
        factory = f"assistant.release_{release.replace('.', '_')}:create_supervisor"
        body = {"factory": factory, "build": release, "live": live, "reason": reason}
        return msgspec.json.decode(await self._ask("POST", "/api/paths/v3/load", body), type=Loaded)

    async def watch(self, seconds: float) -> AsyncIterator[RolloutView]:
        """One look after the other, for this many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield await self.look()
            await asyncio.sleep(LOOK_S)

    async def until(self, what: str, seen: Callable[[RolloutView], bool], seconds: float) -> RolloutView:
        """Look until this is true. Raises `DemoError` if it is not in time."""
        async for view in self.watch(seconds):
            if seen(view):
                return view
        raise DemoError(f"not seen within {seconds:g} s: {what}")

    async def _ask(self, method: str, path: str, body: object = None, revision: int | None = None) -> bytes:
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        try:
            answer = await self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise DemoError(f"the service does not answer: {error or type(error).__name__}") from None
        if not answer.is_success:
            raise DemoError(f"{method} {path} was refused: {answer.text}")
        return answer.content


def canary(view: RolloutView) -> PathFigures:
    """v3's figures."""
    return next(figures for figures in view.paths if figures.path == "v3")
