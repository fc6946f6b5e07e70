"""What a worker is told when it starts: sent over its link before the first frame, so that no secret is on a command
line or in an environment that others can read.

It must not know who starts a worker or why.
"""

from __future__ import annotations

import socket
import struct

import msgspec
from msgspec import Struct

from rollout.names import Path

_LENGTH = struct.Struct("<I")


class WorkerConfig(Struct, frozen=True, kw_only=True):
    """One worker of one path."""

    path: Path
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
    """Put the configuration first on the link; it is small enough for the kernel's buffer, so this does not wait."""
    data = msgspec.json.encode(config)
    connected.sendall(_LENGTH.pack(len(data)) + data)


def read_config(connected: socket.socket) -> WorkerConfig:
    """Wait for the configuration, and read nothing beyond it. Raises `EOFError` when the other end is gone."""
    (length,) = _LENGTH.unpack(_exactly(connected, _LENGTH.size))
    return msgspec.json.decode(_exactly(connected, length), type=WorkerConfig)


def _exactly(connected: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connected.recv(count - len(data))
        if not piece:
            raise EOFError("the gateway is gone")
        data += piece
    return bytes(data)
