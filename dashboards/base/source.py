"""What the pages ask of the service, which implements `Source`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Protocol, TypeAlias

from litestar import Request
from litestar.datastructures import State
from msgspec import Struct

from dashboards.base.person import Person
from rollout.names import PathName, Verb
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

PageRequest: TypeAlias = Request[Any, Any, State]
"""Pages read its cookies and headers only; who is signed in, the service says."""


class CommandResult(Struct, frozen=True):
    """What became of a command: `refusal` is empty when it was done, else the reason, for a person to read."""

    refusal: str = ""
    stale: bool = False
    """Refused because somebody else changed the rollout meanwhile."""

    @property
    def ok(self) -> bool:
        return not self.refusal


class Unavailable(Exception):
    """What was asked for cannot be read now: the store does not answer."""


class Source(Protocol):
    """The service as the pages see it. Several pages may call any method at the same time."""

    # -- the rollout --------------------------------------------------------------------------------------------------

    async def rollout(self) -> RolloutView: ...

    async def previews(self, percentages: Collection[int]) -> Mapping[int, Preview]:
        """What each percentage would move. Pages ask for a few of them, every few seconds."""
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
    ) -> CommandResult:
        """Carry out a command like the control API, with the same checks of role, phase and revision.

        `full` promotes to 100 % at once. A plan is put in force by `apply_plan`.
        """
        ...

    async def plan(self) -> Plan:
        """The plan in force."""
        ...

    async def apply_plan(self, plan: Plan, reason: str, revision: int | None, person: Person) -> CommandResult:
        """Put another plan in force, with the same checks as any command."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Ticks whenever something on a page may have changed. When it ends, the pages' streams end."""
        ...

    # -- what happened, and how the service is ------------------------------------------------------------------------

    async def events(self, before: int | None, limit: int, wanted: AuditFilter = EVERYTHING) -> AuditPage:
        """The audit, newest first; `before` is the `next` of the previous page. Empty while the store is down."""
        ...

    async def exported(self, before: int | None, limit: int, wanted: AuditFilter) -> AuditPage:
        """The same for a file, which must not end early as if it were complete. Raises Unavailable."""
        ...

    async def series(self, span: Span, until: float | None = None) -> SeriesView:
        """Figures over time; `until` in Unix seconds, None: up to now."""
        ...

    async def errors(self) -> ErrorsView: ...

    async def receipt(self, id: str) -> ReceiptView | None:
        """What a rollback did; None: there is no rollback with this id. Raises Unavailable."""
        ...

    async def note(self, text: str, person: Person) -> CommandResult:
        """Leave a remark in the audit."""
        ...

    async def health(self) -> HealthView: ...

    # -- users, and whoever is in front of a page ---------------------------------------------------------------------

    async def sessions(
        self, search: str, path: PathName | None, limit: int, after: tuple[str, str] | None = None
    ) -> SessionsView:
        """Open sessions whose user id contains `search`, ordered by user and connection; `after` is such a pair."""
        ...

    async def user(self, user_id: str) -> UserView: ...

    async def pin(self, user_id: str, path: PathName | None, reason: str, person: Person) -> CommandResult:
        """Keep a user on a path; None lets the hash decide again."""
        ...

    def person(self, request: PageRequest) -> Person | None:
        """Who is signed in; None: nobody."""
        ...

    def why_nobody(self, request: PageRequest) -> str:
        """Why signing in with a token will not help this request; empty: it will."""
        ...

    async def stays(self, request: PageRequest) -> bool:
        """Whether whoever sent this request a while ago would still be let in."""
        ...
