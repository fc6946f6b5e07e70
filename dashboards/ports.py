"""What the pages ask of the service: three narrow protocols, and the values that pass through them.

The service implements them in one `Source` and puts it into the application's state; nothing here knows of stores,
cells or flags.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from litestar import Request
from litestar.datastructures import State
from msgspec import Struct

from rollout.names import PathName, TokenRole
from rollout.plan import Plan
from rollout.views import (
    EVERYTHING,
    AuditFilter,
    AuditPage,
    ErrorsView,
    HealthView,
    Preview,
    ReceiptView,
    RolloutView,
    SeriesView,
    SessionsView,
    Span,
    UserView,
)

Verb: TypeAlias = Literal["start", "set", "promote", "pause", "resume", "rollback", "undo", "unlock"]
# The pages read cookies and headers only; whoever signs in is the service's business.
PageRequest: TypeAlias = Request[Any, Any, State]


class Person(Struct, frozen=True):
    name: str
    role: TokenRole
    source: str = "page"
    """From where, for the audit."""


class Outcome(Struct, frozen=True):
    """What became of a command: `refusal` is empty when it was done, else why not, for a person to read."""

    refusal: str = ""
    stale: bool = False
    """Refused because somebody else changed the rollout meanwhile."""

    @property
    def ok(self) -> bool:
        return not self.refusal


class Unavailable(Exception):
    """What was asked for cannot be read now: the store does not answer."""


class Rollouts(Protocol):
    """Where the rollout is, and its commands."""

    async def rollout(self) -> RolloutView: ...

    async def previews(self, percentages: Collection[int]) -> Mapping[int, Preview]:
        """What each of these percentages would move, asked for a few of them every few seconds."""
        ...

    async def act(
        self,
        verb: Verb,
        percentage: int | None,
        reason: str,
        revision: int | None,
        person: Person,
        *,
        full: bool = False,
    ) -> Outcome:
        """Carry out a command as the control API would, with the same checks of role, phase and revision.

        `full` promotes to 100 % at once.
        """
        ...

    async def plan(self) -> Plan:
        """The plan in force."""
        ...

    async def apply_plan(self, plan: Plan, reason: str, revision: int | None, person: Person) -> Outcome:
        """Another plan from here on, with the same checks as any command."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """One tick whenever something on a page may have changed; its end ends the pages' streams."""
        ...


class Records(Protocol):
    """What happened, and how the service is."""

    async def events(self, before: int | None, limit: int, wanted: AuditFilter = EVERYTHING) -> AuditPage:
        """The audit, newest first; `before` is the `next` of the page that came before. Empty without the store."""
        ...

    async def exported(self, before: int | None, limit: int, wanted: AuditFilter) -> AuditPage:
        """The same for a file, which must not end as if that were all. Raises Unavailable."""
        ...

    async def series(self, span: Span, until: float | None = None) -> SeriesView: ...

    async def errors(self) -> ErrorsView: ...

    async def receipt(self, id: str) -> ReceiptView | None:
        """What a rollback did; None: there was none of this id. Raises Unavailable."""
        ...

    async def note(self, text: str, person: Person) -> Outcome: ...

    async def health(self) -> HealthView: ...


class People(Protocol):
    """Users, their sessions, and whoever sits in front of a page."""

    async def sessions(
        self, search: str, path: PathName | None, limit: int, after: tuple[str, str] | None = None
    ) -> SessionsView:
        """Open sessions whose user contains `search`, by user and connection; those that come after these two."""
        ...

    async def user(self, user_id: str) -> UserView: ...

    async def pin(self, user_id: str, path: PathName | None, reason: str, person: Person) -> Outcome:
        """Keep a user on a path, or with None let the hash decide again."""
        ...

    def person(self, request: PageRequest) -> Person | None:
        """Who is signed in; None: nobody."""
        ...

    def why_nobody(self, request: PageRequest) -> str:
        """Why a token will not help to sign in with this request; empty: it will."""
        ...

    async def stays(self, request: PageRequest) -> bool:
        """Whether whoever sent this request a while ago would still be let in."""
        ...


class Source(Rollouts, Records, People, Protocol):
    """The service as the pages see it. Any method may be called by several pages at once."""
