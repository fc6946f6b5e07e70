"""The built-in codec: what the gateway itself says to a client, in the format of `app.messages`."""

from __future__ import annotations

from app.gateway.message import AcceptedMessage
from app.gateway.session import Session
from app.message_types import ErrorCode, Inbound, Refusal
from app.messages import error_payload, new_message_id, read, render, stamp

_NOTHING: dict[str, object] = {}


class JsonCodec:
    """Stateless; one for the whole cell."""

    def read(self, frame: str | bytes) -> Inbound | Refusal:
        return read(frame)

    def new_message_id(self) -> str:
        return new_message_id()

    def stamp(self, seq: int, body: bytes) -> bytes:
        return stamp(seq, body)

    def ready(self, session: Session, heartbeat_s: float, recovered: bool | str) -> bytes:
        payload = {
            "connection_id": session.connection_id,
            "resume_token": session.resume_token,
            "heartbeat_s": heartbeat_s,
            "recovered": recovered,
            "outcomes": session.recent.outcomes() if recovered else [],
        }
        return render("connection_ready", payload, session.user_id, session.thread_id)

    def ack(self, session: Session, message: AcceptedMessage) -> bytes:
        return render("ack", _NOTHING, session.user_id, session.thread_id, message.message_id, message.number)

    def pong(self, session: Session, message_id: str | None) -> bytes:
        return render("pong", _NOTHING, session.user_id, session.thread_id, message_id)

    def stopped(self, session: Session, message: AcceptedMessage) -> bytes:
        return render("agent_stopped", _NOTHING, session.user_id, session.thread_id, message.message_id, message.number)

    def error(
        self, session: Session, code: ErrorCode, words: str, message: AcceptedMessage | None, message_id: str | None
    ) -> bytes:
        number = None
        if message is not None:
            message_id, number = message.message_id, message.number
        return render("error", error_payload(code, words), session.user_id, session.thread_id, message_id, number)

    def duplicate(self, session: Session, message_id: str, outcome: str | None) -> bytes:
        payload = error_payload("duplicate", "this message_id was accepted before; it is not run again")
        payload["outcome"] = outcome
        return render("error", payload, session.user_id, session.thread_id, message_id)
