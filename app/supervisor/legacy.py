"""v2, the anti-pattern that v3 replaces: a mock HTTP `Request` for a WebSocket, so that HTTP's factory can be used.

It is kept as it was. Only one line of `loading` refers to this file; deleting both removes v2.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from litestar.connection import Request
from litestar.datastructures import State
from litestar.types import Scope

from app.supervisor.context import RequestContext
from app.supervisor.contract import Opening
from app.supervisor.core import Dependencies, Supervisor
from app.supervisor.http import get_request_scoped_supervisor


def mock_request(opening: Opening) -> Request[Any, Any, State]:
    """A mock request: of type websocket, without headers, and unable to receive or send anything."""
    state = {
        "request_id": opening.connection_id,
        "user_id": opening.user_id,
        "thread_id": opening.thread_id,
        "received_at": datetime.fromtimestamp(opening.connected_at, UTC),
    }
    return Request(cast(Scope, {"type": "websocket", "headers": [], "state": state}))


def open_through_mock_request(opening: Opening, dependencies: Dependencies) -> Supervisor:
    """The supervisor of one WebSocket session, as if it were an HTTP request. Raises as `open_websocket` does."""
    state = mock_request(opening).state
    context = RequestContext(state.request_id, state.user_id, state.thread_id, state.received_at)
    return get_request_scoped_supervisor(context, dependencies)
