"""The built-in answerer: runs an agent by name, and keeps a small part of the state document for its path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

import msgspec

from app.message_types import Request
from app.supervisor.agents import AGENTS, DEFAULT_AGENT, Agent, AgentContext, choose_agent
from app.supervisor.contract import AgentEvent


class BuiltinState(msgspec.Struct, frozen=True):
    """A path's part of the document: how many messages it answered, and which agent answered the last one."""

    runs: int = 0
    agent: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(BuiltinState | None)


class BuiltinAnswerer:
    """Answers with the agent that a message names, else with `default`."""

    __slots__ = ("__weakref__", "_agents", "_default", "exports_state", "rerun_safe")

    def __init__(self, default: str = DEFAULT_AGENT, agents: Mapping[str, Agent] = AGENTS) -> None:
        self._default = default
        self._agents = agents
        # The built-in agents have no effect outside their answer.
        self.rerun_safe = True
        self.exports_state = True

    def answer(self, request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
        """The events of the chosen agent. Raises `UnknownAgent`."""
        return choose_agent(request.agent or self._default, self._agents)(request, context)

    def part(self, before: bytes, request: Request) -> bytes:
        """The part after one more run by this agent."""
        try:
            runs = (_decoder.decode(before) or BuiltinState()).runs
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            # A custom supervisor served this path before and left a part of another shape.
            runs = 0
        return _encoder.encode(BuiltinState(runs + 1, request.agent or self._default))

    def restore(self, part: bytes, document: bytes) -> None:
        """Do nothing: the part is in the document and is counted on from there."""

    def dependencies(self) -> Iterable[object]:
        return self._agents.values()

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
