"""What a cell is told when it starts: sent over its link before the first frame, so that all cells of a host have the
same settings, whatever became of the files and variables they were read from.

It must not know who starts a cell or why.
"""

from __future__ import annotations

import socket

import msgspec
from msgspec import Struct

from app.link.preamble import receive_first, send_first
from app.settings import Settings


class CellConfig(Struct, frozen=True, kw_only=True):
    """One cell of several."""

    name: str
    parent_pid: int
    """A cell that has another parent ends."""
    settings: Settings
    build: str = ""
    """Id of v3's build, when `settings` were changed by a `load`; empty: as the worker says."""


def write_config(connected: socket.socket, config: CellConfig) -> None:
    """Put the configuration first on the link."""
    send_first(connected, msgspec.msgpack.encode(config))


def read_config(connected: socket.socket) -> CellConfig:
    """Wait for the configuration. Raises `EOFError` when the parent is gone."""
    return msgspec.msgpack.decode(receive_first(connected), type=CellConfig)
