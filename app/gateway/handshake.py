"""`GET /ws`: Litestar's handshake, the door, and then a session on the framed socket.

Knows the web framework; the rules of the session are elsewhere.
"""

from __future__ import annotations

import secrets

from litestar import WebSocket, websocket
from litestar.connection.base import empty_receive, empty_send
from litestar.datastructures import State

from app.gateway.admission import SUBPROTOCOL, AdmissionRefused
from app.gateway.caller import caller_of, refusal_of
from app.gateway.connection import EXTENSION
from app.gateway.framed_socket import FramedSocket
from app.gateway.resume import Entrance


@websocket("/ws", opt={"exclude_from_csrf": True})
async def open_websocket(socket: WebSocket[object, object, State]) -> None:
    """Let a client in or refuse it before the upgrade; afterwards its messages bypass the framework."""
    entrance: Entrance = socket.app.state.entrance
    await socket.receive()  # websocket.connect
    caller = caller_of(socket)
    resume = caller.query.get("resume")
    try:
        identity = await entrance.door.admit(caller, socket=True, resuming=entrance.knows(resume))
    except AdmissionRefused as refused:
        await _refuse(socket, refused)
        _let_go(socket)
        return
    chosen = next((name for name in caller.subprotocols if name.startswith(SUBPROTOCOL)), None)
    accept: dict[str, object] = {"type": "websocket.accept", "subprotocol": chosen, "headers": []}
    await socket.send(accept)  # type: ignore[arg-type]
    framed: FramedSocket = socket.scope["extensions"][EXTENSION]  # type: ignore[index, assignment]
    _let_go(socket)
    await entrance.welcome(identity, framed, "c-" + secrets.token_hex(8), resume)


def _let_go(socket: WebSocket[object, object, State]) -> None:
    """The framework's object goes with its handler: what it sends and receives with knows it, a circle otherwise."""
    socket.receive, socket.send = empty_receive, empty_send


async def _refuse(socket: WebSocket[object, object, State], refused: AdmissionRefused) -> None:
    """A plain HTTP answer instead of the upgrade (ASGI extension `websocket.http.response`)."""
    headers, body = refusal_of(refused)
    raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    start = {"type": "websocket.http.response.start", "status": refused.status, "headers": raw_headers}
    await socket.send(start)  # type: ignore[arg-type]
    await socket.send({"type": "websocket.http.response.body", "body": body, "more_body": False})
