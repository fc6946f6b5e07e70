"""The configuration of a worker, sent over its link before the first frame.

So no secret stands on a command line or in an environment that others can read.
"""

from __future__ import annotations

from msgspec import Struct

from rollout.names import PathName


class WorkerConfig(Struct, frozen=True, kw_only=True):
    """One worker of one path."""

    path: PathName
    factory: str
    """`builtin` or `package.module:factory`."""
    agent: str
    thread_secret: bytes
    parent_pid: int
    """The gateway; a worker that has another parent ends."""
    build: str | None = None
    """Id of the build; None: a digest of the code that the worker loads."""
    faults: dict[str, float | int | str | bool] = {}
    message_timeout_s: float = 300.0
    nice: int = 0
    log_level: str = "info"
