"""The built-in answerer: the agents by name, and the little each path keeps of its own in the document.

It must not know which path or transport it serves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

import msgspec

from app.message_types import Request
from app.supervisor.agents import AGENTS, DEFAULT_AGENT, Agent, AgentContext, choose_agent
from app.supervisor.contract import AgentEvent


class BuiltinState(msgspec.Struct, frozen=True):
    """What the built-in supervisor of a path keeps: the messages it answered, and by which agent the last."""

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
        """The chosen agent's events. Raises `UnknownAgent`."""
        return choose_agent(request.agent or self._default, self._agents)(request, context)

    def part(self, before: bytes, request: Request) -> bytes:
        """One more run, by this agent."""
        try:
            runs = (_decoder.decode(before) or BuiltinState()).runs
        except msgspec.MsgspecError:
            # People's own supervisor served this path before and left a part of another shape.
            runs = 0
        return _encoder.encode(BuiltinState(runs + 1, request.agent or self._default))

    def restore(self, part: bytes, document: bytes) -> None:
        """Nothing: the part stands in the document, and counts on from there."""

    def held(self) -> Iterable[object]:
        return self._agents.values()

    async def close(self) -> None:
        """Nothing is held."""
