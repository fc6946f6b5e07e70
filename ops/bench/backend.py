"""The peer: a plain Litestar `@websocket` handler that answers every message with the same three JSON events.

It has no routing, limits, counters or delivery contract, like a service before it uses Crossfade. `?events=1` sends the
last event only. Run as `python -m ops.bench.backend PORT`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import msgspec
import uvicorn
from litestar import Litestar, WebSocket, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect

encode = msgspec.json.encode


class Inbound(msgspec.Struct):
    type: str
    message_id: str
    payload: dict[str, str]


read = msgspec.json.Decoder(Inbound).decode


@websocket("/ws")
async def serve(socket: WebSocket[object, object, State], user: str, events: int = 3) -> None:
    """Echo every message, as ack, started and completed."""
    await socket.accept()
    seq = number = 0

    async def say(kind: str, message_id: str, payload: object) -> None:
        nonlocal seq
        seq += 1
        event = {
            "seq": seq,
            "type": kind,
            "payload": payload,
            "user_id": user,
            "thread_id": "t-1",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "message_id": message_id,
            "number": number,
        }
        await socket.send_text(encode(event).decode())

    try:
        while True:
            message = read(await socket.receive_text())
            number += 1
            if events == 3:
                await say("ack", message.message_id, {})
                await say("agent_started", message.message_id, {})
            await say("agent_completed", message.message_id, {"content": message.payload["content"]})
    except WebSocketDisconnect:
        return


app = Litestar([serve], openapi_config=None)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        loop="uvloop",
        ws_per_message_deflate=False,
        ws_ping_interval=25,
        log_level="warning",
        access_log=False,
        lifespan="off",
        backlog=4096,
    )
