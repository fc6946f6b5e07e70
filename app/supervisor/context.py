"""Whom a supervisor works for: the identity of one WebSocket session or of one HTTP request, frozen.

A WebSocket has no method, body or headers, so its context has none either, and no web framework is needed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from app.supervisor.contract import Opening
from app.supervisor.threads import new_thread_id

# Signs the thread id that is made here if none is given. The gateway, which has the cells' secret, always gives one.
_PROCESS_SECRET = secrets.token_bytes(32)


class Context(Protocol):
    """The parts that both contexts have and the core needs."""

    @property
    def user_id(self) -> str: ...
    @property
    def thread_id(self) -> str: ...
    @property
    def isolation_key(self) -> str: ...


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class WebSocketContext:
    """The identity of one WebSocket session. Raises `ValueError` for a missing id or a time not in aware UTC."""

    connection_id: str
    user_id: str
    thread_id: str = ""
    """Made if not given."""
    connected_at: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        _require("WebSocketContext", "connection_id", self.connection_id)
        _require("WebSocketContext", "user_id", self.user_id)
        _require_utc("WebSocketContext", "connected_at", self.connected_at)
        if not self.thread_id:
            object.__setattr__(self, "thread_id", new_thread_id(self.user_id, _PROCESS_SECRET))

    @property
    def isolation_key(self) -> str:
        """Unique among all sessions: connection ids are made by the server and contain no slash."""
        return f"{self.connection_id}/{self.user_id}"

    @classmethod
    def of(cls, opening: Opening) -> WebSocketContext:
        """The context of a session that the gateway opened."""
        connected_at = datetime.fromtimestamp(opening.connected_at, UTC)
        return cls(opening.connection_id, opening.user_id, opening.thread_id, connected_at)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The same identity for one HTTP request. Raises `ValueError` as `WebSocketContext` does."""

    request_id: str
    user_id: str
    thread_id: str = ""
    """Made if not given."""
    received_at: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        _require("RequestContext", "request_id", self.request_id)
        _require("RequestContext", "user_id", self.user_id)
        _require_utc("RequestContext", "received_at", self.received_at)
        if not self.thread_id:
            object.__setattr__(self, "thread_id", new_thread_id(self.user_id, _PROCESS_SECRET))

    @property
    def isolation_key(self) -> str:
        """Unique among all requests."""
        return f"{self.request_id}/{self.user_id}"

    @classmethod
    def of(cls, opening: Opening) -> RequestContext:
        """The context of an HTTP message, which is a session of one message."""
        received_at = datetime.fromtimestamp(opening.connected_at, UTC)
        return cls(opening.connection_id, opening.user_id, opening.thread_id, received_at)


def _require(owner: str, name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{owner}: {name} must be text that is not empty, not {value!r}")


def _require_utc(owner: str, name: str, value: datetime) -> None:
    if value.utcoffset() != timedelta(0):
        raise ValueError(f"{owner}: {name} must be an aware time in UTC, not {value!r}")
