"""What a session is made of: who its client is, how it is connected, and how it was assigned."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, NamedTuple

from app.gateway.identity import Identity
from app.gateway.ports import RateLimit, Socket
from rollout.assign import Assignment


class ClientConnection(NamedTuple):
    """One connection of a client to its session; a resume brings another."""

    socket: Socket
    connection_id: str
    connected_at: float
    """Unix seconds."""
    resume_token: str = ""
    """With which the client may come back; empty: it cannot."""


class SessionSetup(NamedTuple):
    """What a session is made of. `key` is its number in its cell."""

    key: int
    identity: Identity
    client: ClientConnection
    assignment: Assignment
    bucket: int
    bucket_key: Hashable
    """Of the flag's rule by which the bucket was computed; None: without one."""
    message_rate: RateLimit
    """Of messages."""
    input_rate: RateLimit
    """Of anything it sends."""
    transport: Literal["websocket", "http"] = "websocket"
