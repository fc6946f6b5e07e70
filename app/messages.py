"""The built-in message format: reads what clients send and renders the events they get.

Both ends of a worker's link use it. The session core sees only `Inbound`, `Refusal` and bytes, so another format can
take the place of this module.
"""

from __future__ import annotations

import itertools
import secrets
import time
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from app.message_types import (
    MESSAGE_ID_CHARACTERS,
    TYPES,
    ClientEvent,
    ClientMessage,
    ErrorCode,
    GetThreadHistory,
    Inbound,
    LooseMessage,
    PingRequest,
    Refusal,
    Request,
    StartAgent,
    StopAgent,
    SwitchThread,
    UserMessage,
)

# Errors after which the same message may be sent again. `interrupted` leaves the duplicate window, so the retry runs.
RETRYABLE: frozenset[str] = frozenset({"rate_limited", "busy", "timeout", "interrupted", "internal"})

_decoder = msgspec.json.Decoder(ClientMessage)
_encoder = msgspec.json.Encoder()


def read(frame: str | bytes) -> Inbound | Refusal:
    """Read one frame of a client, whose size has been checked. Never raises."""
    try:
        message = _decoder.decode(frame)
    except msgspec.ValidationError as error:
        return _refuse(frame, str(error))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return Refusal("invalid_json", "the message is not valid JSON")
    if isinstance(message, UserMessage):
        if message.payload.given is None:
            return Refusal(
                "invalid_payload", "payload.content is missing; allowed: 1..4000 characters", message.message_id
            )
    elif isinstance(message, PingRequest):
        return Inbound("ping", message.message_id)
    elif isinstance(message, StopAgent):
        return Inbound("stop", message.message_id, target=message.payload.message_id)
    elif isinstance(message, SwitchThread):
        return Inbound("work", message.message_id, message.payload.thread_id)
    return Inbound("work", message.message_id, message.thread_id)


def request_of(frame: str | bytes) -> Request:
    """The request in a frame that `read` accepted as work. Raises `msgspec.DecodeError` on any other."""
    message = _decoder.decode(frame)
    if isinstance(message, UserMessage):
        return Request("message", message.payload.given or "", thread_id=message.thread_id)
    if isinstance(message, StartAgent):
        payload = message.payload
        return Request("agent", payload.user_request, payload.agent, thread_id=message.thread_id)
    if isinstance(message, GetThreadHistory):
        return Request("history", limit=message.payload.limit, thread_id=message.thread_id)
    if isinstance(message, SwitchThread):
        return Request("switch", thread_id=message.payload.thread_id)
    raise msgspec.DecodeError(f"a frame of type {type(message).__name__} is not work")


def _refuse(frame: str | bytes, reason: str) -> Refusal:
    """Tell an unknown type from a bad payload, and find the id for the answer. Not on the hot path."""
    try:
        loose = msgspec.json.decode(frame, type=LooseMessage)
    except RecursionError:
        return Refusal("invalid_json", "the message is nested too deeply")
    except UnicodeError:
        return Refusal("invalid_json", "the message is not valid JSON")
    except msgspec.MsgspecError:
        return Refusal("invalid_payload", "a message must be a JSON object with `type` and `payload`")
    identity = loose.message_id if isinstance(loose.message_id, str) else None
    if identity is not None and not 1 <= len(identity) <= MESSAGE_ID_CHARACTERS:
        identity = None
    if not isinstance(loose.type, str) or loose.type not in TYPES.split(", "):
        return Refusal("unknown_type", f"type must be one of {TYPES}", identity)
    return Refusal("invalid_payload", reason, identity)


def render(
    type: str,
    payload: object,
    user_id: str,
    thread_id: str,
    message_id: str | None = None,
    number: int | None = None,
    run_id: str | None = None,
    now: float | None = None,
) -> bytes:
    """One event as JSON without the opening brace, so that `stamp` can put `seq` first. `now` is in Unix seconds."""
    return _encoder.encode(
        ClientEvent(
            type,
            payload,
            user_id,
            thread_id,
            timestamp(time.time() if now is None else now),
            UNSET if message_id is None else message_id,
            UNSET if number is None else number,
            UNSET if run_id is None else run_id,
        )
    )[1:]


def stamp(seq: int, body: bytes) -> bytes:
    """The frame for the client: a `body` made by `render`, with its sequence number in the connection."""
    return b'{"seq":%d,%b' % (seq, body)


def error_payload(code: ErrorCode, message: str, reference: str = "") -> dict[str, object]:
    """Payload of an `error` event; `reference`, made if not given, is the id under which the log has the details."""
    return {
        "code": code,
        "message": message,
        "retryable": code in RETRYABLE,
        "reference": reference or new_reference(),
    }


# A random part per process and a counter: unique, and cheap enough for every message.
_process = secrets.token_hex(6)
_made = itertools.count(1)


def new_reference() -> str:
    """An id for a log entry, which a client may quote."""
    return secrets.token_hex(6)


def new_message_id() -> str:
    """An id for a message that came without one."""
    return f"m-{_process}-{next(_made):x}"


_second: tuple[int, str] = (-1, "")
_millisecond: tuple[int, str] = (-1, "")


def timestamp(now: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds; the last second and millisecond are cached."""
    global _second, _millisecond  # noqa: PLW0603 - formatting costs as much as the rest of an event
    whole = int(now * 1000)
    if _millisecond[0] != whole:
        seconds, rest = divmod(whole, 1000)
        if _second[0] != seconds:
            _second = (seconds, datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        _millisecond = (whole, f"{_second[1]}.{rest:03d}Z")
    return _millisecond[1]
