"""The types of the built-in message format: what clients send, and what the gateway makes of it.

Apart from the functions in `app.messages`, because classes of msgspec cannot be compiled and functions can.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

CONTENT_CHARACTERS = 4000
MESSAGE_ID_CHARACTERS = 128

Text = Annotated[str, Meta(min_length=1, max_length=CONTENT_CHARACTERS)]
Id = Annotated[str, Meta(min_length=1, max_length=MESSAGE_ID_CHARACTERS)]

ErrorCode: TypeAlias = Literal[
    "invalid_json",
    "unknown_type",
    "invalid_payload",
    "too_large",
    "rate_limited",
    "busy",
    "duplicate",
    "access_denied",
    "timeout",
    "interrupted",
    "internal",
]


class ContentPayload(Struct, frozen=True):
    """One text under any of the names clients have used for it; `content` wins."""

    content: Text | None = None
    text: Text | None = None
    message: Text | None = None

    @property
    def given(self) -> str | None:
        """The text, whichever name it came under."""
        return self.content or self.text or self.message


class AgentPayload(Struct, frozen=True):
    user_request: Text
    agent: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class StopPayload(Struct, frozen=True):
    message_id: Id | None = None


class HistoryPayload(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=100)] | None = None


class SwitchPayload(Struct, frozen=True):
    thread_id: Annotated[str, Meta(min_length=1, max_length=128)]


class _Envelope(Struct, frozen=True, tag_field="type", kw_only=True):
    message_id: Id | None = None
    thread_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class UserMessage(_Envelope, tag="user_message", frozen=True, kw_only=True):
    payload: ContentPayload


class Chat(UserMessage, tag="chat", frozen=True):
    pass


class User(UserMessage, tag="user", frozen=True):
    pass


class PlainMessage(UserMessage, tag="message", frozen=True):
    pass


class ChatMessage(UserMessage, tag="chat_message", frozen=True):
    pass


class StartAgent(_Envelope, tag="start_agent", frozen=True, kw_only=True):
    payload: AgentPayload


class ExecuteAgent(StartAgent, tag="execute_agent", frozen=True):
    pass


class StopAgent(_Envelope, tag="stop_agent", frozen=True, kw_only=True):
    payload: StopPayload = StopPayload()


class GetThreadHistory(_Envelope, tag="get_thread_history", frozen=True, kw_only=True):
    payload: HistoryPayload = HistoryPayload()


class SwitchThread(_Envelope, tag="switch_thread", frozen=True, kw_only=True):
    payload: SwitchPayload


class PingRequest(_Envelope, tag="ping", frozen=True, kw_only=True):
    pass


ClientMessage: TypeAlias = (
    UserMessage
    | Chat
    | User
    | PlainMessage
    | ChatMessage
    | StartAgent
    | ExecuteAgent
    | StopAgent
    | GetThreadHistory
    | SwitchThread
    | PingRequest
)
TYPES = (
    "user_message, chat, user, message, chat_message, start_agent, execute_agent, stop_agent, "
    "get_thread_history, switch_thread, ping"
)


class Inbound(Struct, frozen=True):
    """A frame that can be read. The session numbers and queues `work`; `ping` and `stop` it handles at once."""

    kind: Literal["work", "ping", "stop"]
    message_id: str | None
    thread_id: str | None = None
    """The thread that the client named, whose owner is to be checked; for `switch_thread` the new one."""
    target: str | None = None
    """For `stop`: the message to stop; None: the running one."""


class Refusal(Struct, frozen=True):
    """Why a frame was not accepted; becomes one `error` event without a number."""

    code: ErrorCode
    message: str
    message_id: str | None = None


class Request(Struct, frozen=True):
    """One accepted message as the supervisor gets it, aliases resolved."""

    kind: Literal["message", "agent", "history", "switch"]
    content: str = ""
    agent: str | None = None
    limit: int | None = None
    thread_id: str | None = None


class LooseMessage(Struct, frozen=True):
    """The parts of a refused message that say why it is refused and which id the answer carries."""

    type: object = None
    message_id: object = None


class ClientEvent(Struct, frozen=True):
    """An event for a client, without `seq`, which the gateway adds."""

    type: str
    payload: object
    user_id: str
    thread_id: str
    timestamp: str
    message_id: str | UnsetType = UNSET
    number: int | UnsetType = UNSET
    run_id: str | UnsetType = UNSET
