"""The first message on a socket pair, before any frame: the configuration of the process that was started.

Four bytes of length (little-endian), then msgpack.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeVar

import msgspec

_LENGTH = struct.Struct("<I")
Config = TypeVar("Config", bound=msgspec.Struct)


def send_config(connected: socket.socket, config: msgspec.Struct) -> None:
    """Send the configuration; it is small enough for the kernel's buffer, so this does not wait."""
    data = msgspec.msgpack.encode(config)
    connected.sendall(_LENGTH.pack(len(data)) + data)


def receive_config(connected: socket.socket, kind: type[Config]) -> Config:
    """Wait for the configuration, and read nothing beyond it. Raises `EOFError` when the other end is gone."""
    (length,) = _LENGTH.unpack(_exactly(connected, _LENGTH.size))
    return msgspec.msgpack.decode(_exactly(connected, length), type=kind)


def _exactly(connected: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connected.recv(count - len(data))
        if not piece:
            raise EOFError("the other end is gone")
        data += piece
    return bytes(data)
