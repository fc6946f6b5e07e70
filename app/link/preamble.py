"""The first message on a socket pair, before any frame: what the process at the other end is told when it starts.

Bytes with their length before them; must not know what they say.
"""

from __future__ import annotations

import socket
import struct

_LENGTH = struct.Struct("<I")


def send_first(connected: socket.socket, data: bytes) -> None:
    """Put it on the link; it is small enough for the kernel's buffer, so this does not wait."""
    connected.sendall(_LENGTH.pack(len(data)) + data)


def receive_first(connected: socket.socket) -> bytes:
    """Wait for it, and read nothing beyond it. Raises `EOFError` when the other end is gone."""
    (length,) = _LENGTH.unpack(_exactly(connected, _LENGTH.size))
    return _exactly(connected, length)


def _exactly(connected: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connected.recv(count - len(data))
        if not piece:
            raise EOFError("the other end is gone")
        data += piece
    return bytes(data)
