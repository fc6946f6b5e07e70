"""What holds for every request over HTTP: HEAD is answered wherever GET is, and a client that leaves before its request
is whole is no error of ours.
"""

from __future__ import annotations

from typing import cast

from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Message, Receive, Scope, Send

CLIENT_LEFT = 499
"""nginx's status for a client that broke off its request; nobody receives it."""


def with_http_rules(app: ASGIApp) -> ASGIApp:
    """The application, for `Litestar.asgi_handler`."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
        elif scope["method"] == "HEAD":
            await app(cast("HTTPScope", {**scope, "method": "GET"}), receive, without_body(send))
        else:
            await app(scope, whole_body(receive), send)

    return handle


def without_body(send: Send) -> Send:
    """Sends the head of an answer, and ends it where its body, however long, would begin."""
    ended = False

    async def send_head(message: Message) -> None:
        nonlocal ended
        if message["type"] != "http.response.body":
            await send(message)
        elif not ended:
            ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head


def whole_body(receive: Receive) -> Receive:
    """Receives a body to its end; a client that leaves before raises an `HTTPException`, which is not logged."""
    more = True

    async def receive_body() -> HTTPReceiveMessage:
        nonlocal more
        message = cast("HTTPReceiveMessage", await receive())
        if message["type"] == "http.request":
            more = message.get("more_body", False)
        elif more:
            raise HTTPException("the client left before its request was whole", status_code=CLIENT_LEFT)
        return message

    return cast("Receive", receive_body)
