"""The pools of both paths, made from the settings."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping

import msgspec

from app.errors import FactoryError
from app.link.config import WorkerConfig
from app.pool.handle import WorkerLimits
from app.pool.liveness import CANARY_BACK_OFF, STABLE_BACK_OFF
from app.pool.pool import STOP_S, RestartRules, WorkerPool
from app.pool.ports import PathEvents
from app.pool.source import source_of
from app.settings import Settings
from app.supervisor.faults import plans_of_setting
from rollout.builds import Served
from rollout.names import CANARY, PATHS, PathName

_log = logging.getLogger("crossfade.pool")
_Faults = dict[str, dict[str, float | int | str | bool]]


class WorkerPools:
    """One for each path. Make it in the thread of the running event loop."""

    def __init__(self, settings: Settings, thread_secret: bytes, events: PathEvents) -> None:
        """Raises `SettingError` for an unknown fault."""
        self._pools = {path: _pool_of(path, settings, thread_secret, events) for path in PATHS}

    def __getitem__(self, path: PathName) -> WorkerPool:
        return self._pools[path]

    async def start(self, served: Mapping[PathName, Served]) -> None:
        """Start these paths at once. Raises `FactoryError` when v2 does not start; without v3 the cell serves v2."""
        started = await asyncio.gather(
            *(self._pools[path].start(each) for path, each in served.items()), return_exceptions=True
        )
        for path, error in zip(served, started, strict=True):
            if path == CANARY and isinstance(error, FactoryError):
                _log.error("v3 is unavailable: %s", error)
            elif error is not None:
                raise error

    async def stop(self, grace_s: float = STOP_S) -> None:
        """End all workers."""
        await asyncio.gather(*(pool.stop(grace_s) for pool in self._pools.values()))


def _pool_of(path: PathName, settings: Settings, thread_secret: bytes, events: PathEvents) -> WorkerPool:
    canary, source = path == CANARY, source_of(settings, path)
    config = WorkerConfig(
        path=path,
        factory=source.factory,
        agent=settings.agent,
        thread_secret=thread_secret,
        parent_pid=os.getpid(),
        faults=faults_of(path, settings.faults),
        message_timeout_s=settings.message_timeout_s,
        nice=settings.worker_nice_v3 if canary else 0,
        log_level=settings.log_level,
    )
    limits = WorkerLimits(
        start_s=settings.start_s,
        ping_s=settings.ping_s,
        hang_s=settings.hang_v3_s if canary else settings.hang_v2_s,
        unstarted_s=settings.unstarted_s,
        memory_bytes=settings.worker_memory_bytes,
    )
    rules = RestartRules(
        back_off=CANARY_BACK_OFF if canary else STABLE_BACK_OFF,
        crash_limit=settings.crash_limit if canary else None,
        crash_window_s=settings.crash_window_s,
    )
    return WorkerPool(config, source.python, limits, rules, events)


def faults_of(path: PathName, setting: str) -> dict[str, float | int | str | bool]:
    """The faults of one path in the setting. Raises `SettingError`."""
    if not setting:
        return {}
    plans_of_setting(setting)
    return msgspec.json.decode(setting, type=_Faults).get(path, {})
