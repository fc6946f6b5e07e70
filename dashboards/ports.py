"""What the pages ask of the service: one narrow `Source`, and the values that pass through it.

The service implements it and puts it into the application's state; nothing here knows of stores, cells or flags.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol, TypeAlias

from litestar import Request
from litestar.datastructures import State
from msgspec import Struct

from dashboards.views import AuditPage, Preview, RolloutView

Role: TypeAlias = Literal["viewer", "oncall", "manager"]
Verb: TypeAlias = Literal["start", "set", "promote", "pause", "resume", "rollback", "undo", "unlock"]
# The pages read cookies and headers only; whoever signs in is the service's business.
PageRequest: TypeAlias = Request[Any, Any, State]

ROLES: tuple[Role, ...] = ("viewer", "oncall", "manager")
"""From the one who may least to the one who may all."""


class Person(Struct, frozen=True):
    name: str
    role: Role


class Outcome(Struct, frozen=True):
    """What became of a command: `refusal` is empty when it was done, else why not, for a person to read."""

    refusal: str = ""

    @property
    def ok(self) -> bool:
        return not self.refusal


class Source(Protocol):
    """The service as the pages see it. Any method may be called by several pages at once."""

    async def rollout(self) -> RolloutView: ...

    async def events(self, before: int | None, limit: int) -> AuditPage:
        """The audit, newest first; `before` is the `next` of the page that came before."""
        ...

    async def preview(self, percentage: int) -> Preview:
        """What `percentage` would move, asked for a few percentages every few seconds."""
        ...

    async def act(
        self, verb: Verb, percentage: int | None, reason: str, revision: int | None, person: Person
    ) -> Outcome:
        """Carry out a command as the control API would, with the same checks of role, phase and revision."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """One tick whenever something on a page may have changed; its end ends the pages' streams."""
        ...

    def person(self, request: PageRequest) -> Person | None:
        """Who is signed in; None: nobody."""
        ...
