"""What a cell is told when it starts: sent over its link before the first frame, so that all cells of a host have the
same settings, whatever became of the files and variables they were read from.

It must not know who starts a cell or why.
"""

from __future__ import annotations

import socket
import struct

import msgspec
from msgspec import Struct

from app.settings import Settings

_LENGTH = struct.Struct("<I")


class CellConfig(Struct, frozen=True, kw_only=True):
    """One cell of several."""

    name: str
    parent_pid: int
    """A cell that has another parent ends."""
    settings: Settings
    build: str = ""
    """Id of v3's build, when `settings` were changed by a `load`; empty: as the worker says."""


def write_config(connected: socket.socket, config: CellConfig) -> None:
    """Put the configuration first on the link; it is small enough for the kernel's buffer, so this does not wait."""
    data = msgspec.msgpack.encode(config)
    connected.sendall(_LENGTH.pack(len(data)) + data)


def read_config(connected: socket.socket) -> CellConfig:
    """Wait for the configuration, and read nothing beyond it. Raises `EOFError` when the parent is gone."""
    (length,) = _LENGTH.unpack(_exactly(connected, _LENGTH.size))
    return msgspec.msgpack.decode(_exactly(connected, length), type=CellConfig)


def _exactly(connected: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connected.recv(count - len(data))
        if not piece:
            raise EOFError("the parent is gone")
        data += piece
    return bytes(data)
