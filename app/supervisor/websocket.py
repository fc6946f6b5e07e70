"""Makes v3's supervisor for a WebSocket, from a context that has exactly what a WebSocket has.

It needs no web framework, nothing of HTTP and nothing of v2.
"""

from __future__ import annotations

from app.supervisor.context import WebSocketContext
from app.supervisor.contract import Opening
from app.supervisor.core import Dependencies, Supervisor, create_supervisor_core


def get_websocket_scoped_supervisor(context: WebSocketContext, dependencies: Dependencies) -> Supervisor:
    """The supervisor of one WebSocket session. Raises `SharedDependency`."""
    return create_supervisor_core(context, dependencies)


def open_websocket(opening: Opening, dependencies: Dependencies) -> Supervisor:
    """The supervisor of a session that the gateway opened. Raises `ValueError` for a missing identity."""
    return get_websocket_scoped_supervisor(WebSocketContext.of(opening), dependencies)
