"""`GET /ws`: Litestar's handshake, the door, and then a session on the framed socket.

Knows the web framework; the rules of the session are elsewhere.
"""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus

from litestar import WebSocket, websocket
from litestar.connection.base import empty_receive, empty_send
from litestar.datastructures import State

from app.gateway.admission import SUBPROTOCOL, AdmissionRefused, Caller
from app.gateway.connection import EXTENSION
from app.gateway.framed_socket import FramedSocket
from app.gateway.resume import Entrance


@websocket("/ws", opt={"exclude_from_csrf": True})
async def open_websocket(socket: WebSocket[object, object, State]) -> None:
    """Let a client in or refuse it before the upgrade; afterwards its messages bypass the framework."""
    entrance: Entrance = socket.app.state.entrance
    await socket.receive()  # websocket.connect
    caller = _caller(socket)
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


def _caller(socket: WebSocket[object, object, State]) -> Caller:
    client = socket.scope["client"]
    return Caller(
        peer=client[0] if client else "",
        headers=socket.headers,
        forwarded_for=socket.headers.getall("x-forwarded-for", []),
        query=socket.query_params,
        subprotocols=socket.scope["subprotocols"],
    )


async def _refuse(socket: WebSocket[object, object, State], refused: AdmissionRefused) -> None:
    """A plain HTTP answer instead of the upgrade (ASGI extension `websocket.http.response`)."""
    problem = {"type": "about:blank", "title": HTTPStatus(refused.status).phrase, "status": refused.status}
    body = json.dumps(problem | {"detail": refused.words}).encode()
    headers = [(b"content-type", b"application/problem+json")]
    if refused.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append((b"retry-after", b"1"))
    start = {"type": "websocket.http.response.start", "status": refused.status, "headers": headers}
    await socket.send(start)  # type: ignore[arg-type]
    await socket.send({"type": "websocket.http.response.body", "body": body, "more_body": False})
