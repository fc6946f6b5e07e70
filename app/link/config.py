"""What a worker is told when it starts: sent over its link before the first frame, so that no secret is on a command
line or in an environment that others can read.

It must not know who starts a worker or why.
"""

from __future__ import annotations

import socket

import msgspec
from msgspec import Struct

from app.link.preamble import receive_first, send_first
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
    """Id of the build; None: the worker makes one of the code it loads."""
    faults: dict[str, float | int | str | bool] = {}
    message_timeout_s: float = 300.0
    nice: int = 0
    log_level: str = "info"


def write_config(connected: socket.socket, config: WorkerConfig) -> None:
    """Put the configuration first on the link."""
    send_first(connected, msgspec.json.encode(config))


def read_config(connected: socket.socket) -> WorkerConfig:
    """Wait for the configuration. Raises `EOFError` when the other end is gone."""
    return msgspec.json.decode(receive_first(connected), type=WorkerConfig)
