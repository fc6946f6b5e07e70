"""`POST /api/messages`: one message as a session of one message, answered as JSON or as server-sent events.

Admission, decision, limits, fence and counters are those of a socket.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.response import ServerSentEvent, ServerSentEventMessage

from app.gateway.admission import AdmissionRefused
from app.gateway.caller import caller_of, refusal_of
from app.gateway.session import Session
from app.gateway.session_opener import SessionOpener

STATUS_OF_REFUSAL = {
    "invalid_json": 400,
    "unknown_type": 422,
    "invalid_payload": 422,
    "too_large": 413,
    "rate_limited": 429,
    "busy": 503,
    "duplicate": 409,
    "access_denied": 403,
}


class EventCollector:
    """A `Socket` that collects the events of one message for its HTTP answer."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._bytes = 0

    def send(self, frame: bytes) -> None:
        self._bytes += len(frame)
        self.events.put_nowait(frame)

    def hold(self, frame: bytes) -> None:
        self.send(frame)

    def hurry(self) -> None:
        """Every frame is collected at once."""

    def close(self, code: int, reason: str) -> None:
        self.finish()

    def buffered_bytes(self) -> int:
        return self._bytes

    def finish(self) -> None:
        self.events.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (event := await self.events.get()) is not None:
            yield event


# Its own bound is a setting, and a body beyond it is answered like a message beyond it.
@post("/api/messages", status_code=200, opt={"exclude_from_csrf": True}, request_max_body_size=None)
async def post_message(request: Request[Any, Any, State]) -> Response[Any]:
    """Run one message and answer with its events. The client going away cancels it."""
    opener: SessionOpener = request.app.state.session_opener
    try:
        identity = await opener.admit(caller_of(request), socket=False)
    except AdmissionRefused as refused:
        return _refusal(refused)
    body = await _bounded_body(request, opener.cell.settings.message_bytes)
    collector = EventCollector()
    session = opener.open_http(identity, collector)
    opener.cell.when_finished(session, collector.finish)
    session.receive(body)
    if session.running is None and not session.queue:
        collector.finish()  # refused, or a ping: answered already
    if "text/event-stream" in request.headers.get("accept", ""):
        return ServerSentEvent(_stream(session, collector))
    return await _collect(request, session, collector)


async def _bounded_body(request: Request[Any, Any, State], limit: int) -> bytes:
    """At most one byte more than allowed, so that the session's own check answers `too_large`."""
    if (request.content_length or 0) > limit:
        return bytes(limit + 1)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body[: limit + 1])


async def _collect(request: Request[Any, Any, State], session: Session, collector: EventCollector) -> Response[Any]:
    async def gather() -> list[dict[str, Any]]:
        return [json.loads(event) async for event in collector]

    work = asyncio.ensure_future(gather())
    gone = asyncio.ensure_future(_client_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return Response({"events": [], "outcome": "interrupted"}, status_code=499)
        events = work.result()
    finally:
        work.cancel()
        gone.cancel()
        session.end()
    if not events:  # closed before it was answered, as a socket would be with 1008
        return _refusal(AdmissionRefused(429, "too many messages"))
    last = events[-1]
    status = 200
    if last["type"] == "error" and "number" not in last:
        status = STATUS_OF_REFUSAL[last["payload"]["code"]]
    return Response({"events": events, "outcome": last["type"]}, status_code=status)


async def _client_gone(request: Request[Any, Any, State]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(session: Session, collector: EventCollector) -> AsyncIterator[ServerSentEventMessage]:
    try:
        async for event in collector:
            kind = json.loads(event)["type"]
            yield ServerSentEventMessage(data=event.decode(), event=kind)
    finally:
        session.end()


def _refusal(refused: AdmissionRefused) -> Response[Any]:
    headers, body = refusal_of(refused)
    return Response(body, status_code=refused.status, headers=headers)
