"""The built-in agents, chosen by name: `echo`, and `outline`, a small real text tool in which every event occurs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from app.errors import SettingError
from app.message_types import Request
from app.supervisor.contract import AgentEvent
from app.supervisor.errors import UnknownAgent

DEFAULT_AGENT = "echo"
_KEY_TERMS = 5
_TERM_CHARACTERS = 4
_LINE_CHARACTERS = 80


class AgentContext(Struct, frozen=True):
    """The identity that one run of an agent has."""

    user_id: str
    thread_id: str
    run_id: str


class Agent(Protocol):
    """Yields agent_started, agent_thinking*, (tool_executing, tool_completed)*, agent_completed, in this order.

    `tool_completed` carries `results`. An agent keeps nothing between runs, because all sessions share it.
    """

    def __call__(self, request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]: ...


async def echo(request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
    """Answer with the text of the message."""
    yield AgentEvent("agent_started", {"agent": "echo"})
    yield AgentEvent("agent_completed", {"content": request.content})


async def outline(request: Request, context: AgentContext) -> AsyncIterator[AgentEvent]:
    """Answer with the message's most frequent words, and its sentences as a numbered list."""
    yield AgentEvent("agent_started", {"agent": "outline"})
    yield AgentEvent("agent_thinking", {"text": f"Reading {len(request.content)} characters"})
    yield AgentEvent("tool_executing", {"tool_name": "split_sentences"})
    sentences = split_sentences(request.content)
    yield AgentEvent("tool_completed", {"tool_name": "split_sentences", "results": {"sentences": len(sentences)}})
    yield AgentEvent("tool_executing", {"tool_name": "key_terms"})
    terms = key_terms(request.content)
    yield AgentEvent("tool_completed", {"tool_name": "key_terms", "results": {"terms": terms}})
    lines = [f"{number}. {_shorten(sentence)}" for number, sentence in enumerate(sentences, 1)]
    title = ", ".join(terms) or "(no key terms)"
    yield AgentEvent("agent_completed", {"content": "\n".join([title, *lines])})


AGENTS: Mapping[str, Agent] = MappingProxyType({"echo": echo, "outline": outline})


def choose_agent(name: str, agents: Mapping[str, Agent] = AGENTS) -> Agent:
    """The agent called `name`. Raises `UnknownAgent`, which names the agents there are but does not repeat `name`."""
    agent = agents.get(name)
    if agent is None:
        raise UnknownAgent(f"payload.agent must be one of: {', '.join(agents)}")
    return agent


def check_agent_setting(name: str) -> str:
    """Check the value of `CROSSFADE_AGENT` and return it. Raises `SettingError` if there is no such agent."""
    if name not in AGENTS:
        raise SettingError(f"CROSSFADE_AGENT={name!r}: no such agent; allowed: {', '.join(AGENTS)}")
    return name


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, which is split at line ends and at spaces after `.`, `!` or `?`."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def key_terms(text: str) -> list[str]:
    """Up to five words of at least four letters, the most frequent first, then in order of appearance."""
    words = [word for word in re.findall(r"\w+", text.lower()) if len(word) >= _TERM_CHARACTERS]
    return [word for word, _ in Counter(words).most_common(_KEY_TERMS)]


def _shorten(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - 1] + "…"
