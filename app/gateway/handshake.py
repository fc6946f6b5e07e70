"""`GET /ws`: Litestar's handshake, admission, and then a session on the framed socket."""

from __future__ import annotations

from litestar import Response, WebSocket, get, websocket
from litestar.connection.base import empty_receive, empty_send
from litestar.datastructures import State

from app.gateway.admission import AdmissionRefused
from app.gateway.caller import caller_of, refusal_of
from app.gateway.connection import EXTENSION
from app.gateway.framed_socket import FramedSocket
from app.gateway.session_opener import SessionOpener
from app.gateway.subprotocols import chosen_from
from app.problem import MEDIA_TYPE, encode_problem, problem_of

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}
"""RFC 9110, section 15.5.22."""


@websocket("/ws", opt={"exclude_from_csrf": True})
async def open_websocket(socket: WebSocket[object, object, State]) -> None:
    """Admit a client or refuse it before the upgrade; afterwards its messages bypass the framework."""
    opener: SessionOpener = socket.app.state.session_opener
    await socket.receive()  # websocket.connect
    caller = caller_of(socket)
    resume = caller.query.get("resume")
    try:
        identity = await opener.admit(caller, socket=True, resume_token=resume)
    except AdmissionRefused as refused:
        await _refuse(socket, refused)
        _let_go(socket)
        return
    chosen = chosen_from(caller.subprotocols)
    accept: dict[str, object] = {"type": "websocket.accept", "subprotocol": chosen, "headers": []}
    await socket.send(accept)  # type: ignore[arg-type]
    framed: FramedSocket = socket.scope["extensions"][EXTENSION]  # type: ignore[index, assignment]
    _let_go(socket)
    await opener.open_websocket(identity, framed, resume)


@get("/ws", include_in_schema=False, opt={"exclude_from_csrf": True})
async def refuse_without_upgrade() -> Response[bytes]:
    """Whoever asks for `/ws` without asking for a WebSocket is told that there is nothing else."""
    problem = problem_of(426, "this is a WebSocket; ask for an upgrade to it")
    return Response(encode_problem(problem), status_code=426, media_type=MEDIA_TYPE, headers=UPGRADE)


def _let_go(socket: WebSocket[object, object, State]) -> None:
    """Break the reference cycle between the framework's object and its send and receive."""
    socket.receive, socket.send = empty_receive, empty_send


async def _refuse(socket: WebSocket[object, object, State], refused: AdmissionRefused) -> None:
    """A plain HTTP answer instead of the upgrade (ASGI extension `websocket.http.response`)."""
    headers, body = refusal_of(refused)
    raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    start = {"type": "websocket.http.response.start", "status": refused.status, "headers": raw_headers}
    await socket.send(start)  # type: ignore[arg-type]
    await socket.send({"type": "websocket.http.response.body", "body": body, "more_body": False})
