"""A plain Litestar `@websocket` service whose messages take time; two of them, v2 and v3, stand behind a proxy.

It has no state beyond the socket, and counts the messages that it ran to the end (`GET /ran`). Run as `python -m
ops.bench.working_backend PATH PORT`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import msgspec
import uvicorn
from litestar import Litestar, WebSocket, get, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect, WebSocketException

PATH = sys.argv[1] if len(sys.argv) > 1 else "v2"
ran: Counter[str] = Counter()


class Inbound(msgspec.Struct):
    type: str
    message_id: str
    payload: dict[str, str]


read = msgspec.json.Decoder(Inbound).decode


@get("/ran")
async def tell_ran() -> dict[str, int]:
    """How often each message was run to its end."""
    return dict(ran)


@websocket("/ws")
async def serve(socket: WebSocket[object, object, State], user: str) -> None:
    """Work for as long as the message says, then answer."""
    await socket.accept()
    seq = number = 0

    async def say(kind: str, payload: object, message_id: str | None = None) -> None:
        nonlocal seq
        seq += 1
        event = {"seq": seq, "type": kind, "payload": payload, "user_id": user}
        if message_id is not None:
            event |= {"message_id": message_id, "number": number}
        await socket.send_text(msgspec.json.encode(event).decode())

    try:
        await say("connection_ready", {"resume_token": "none", "recovered": False})
        while True:
            message = read(await socket.receive_text())
            number += 1
            await say("ack", {}, message.message_id)
            await say("agent_started", {"path": PATH}, message.message_id)
            await asyncio.sleep(int(message.payload["content"].removeprefix("sleep=")) / 1000)
            ran[message.message_id] += 1
            answer = json.dumps({"runs": number, "path": PATH})
            await say("agent_completed", {"content": answer}, message.message_id)
    except (WebSocketDisconnect, WebSocketException):
        return


app = Litestar([serve, tell_ran], openapi_config=None)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[2]),
        ws="websockets-sansio",
        loop="uvloop",
        ws_per_message_deflate=False,
        log_level="critical",
        access_log=False,
        lifespan="off",
        backlog=4096,
    )
