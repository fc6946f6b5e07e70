"""The workers of this host's settings, started without a service and without users: for `doctor`."""

from __future__ import annotations

import asyncio

from app.errors import CrossfadeError
from app.link.frames import Traffic
from app.pool.death import Death
from app.pool.handle import WorkerHandle
from app.pool.pools import WorkerPools
from app.serve.startable import words_of_start
from app.settings import Settings
from rollout.names import PATHS, PathName

SECRET = b"of no session, because nobody is served"


class NobodyServed:
    """`PathEvents` of a host without users."""

    def path_up(self, path: PathName, worker: WorkerHandle) -> None: ...

    def path_unavailable(self, path: PathName, reason: str, restarts: int) -> None: ...

    def path_frames(self, path: PathName, frames: list[Traffic]) -> None: ...

    def path_down(self, path: PathName, worker: WorkerHandle, death: Death) -> None: ...

    def oldest_unstarted_s(self, path: PathName) -> float:
        return 0.0


def why_not_started(settings: Settings) -> dict[PathName, str]:
    """By path, why its worker does not start, in the words of the service; empty: it does."""
    return asyncio.run(_try_all(settings))


async def _try_all(settings: Settings) -> dict[PathName, str]:
    try:
        pools = WorkerPools(settings, SECRET, NobodyServed())
    except CrossfadeError as error:
        return dict.fromkeys(PATHS, str(error))
    try:
        return dict(zip(PATHS, await asyncio.gather(*(_try(settings, pools, path) for path in PATHS)), strict=True))
    finally:
        await pools.stop()


async def _try(settings: Settings, pools: WorkerPools, path: PathName) -> str:
    try:
        await pools[path].start()
    except CrossfadeError as error:
        return words_of_start(settings, path, error)
    return ""
