"""The service as the pages see it: the same control loop and the same rules as for the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import suppress

from app.api.access import Access, Visitor
from app.api.commands import REASON_CHARACTERS, command_of
from app.control.controller import Controller
from app.control.health import health_view
from app.control.history import SeriesHistory
from app.control.views import rollout_view
from app.errors import StoreUnavailable
from dashboards.base.person import Person
from dashboards.base.source import CommandResult, PageRequest, Unavailable
from rollout.errors import Refused, StaleRevision
from rollout.events import Actor, ApplyPlan
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

NO_ROLE = (
    "the proxy in front of this service names you, but without one of the roles viewer, oncall and manager; "
    "whoever runs the proxy can change that, a token does not help"
)


class PageSource:
    """Implements `dashboards.base.source.Source`."""

    def __init__(self, control: Controller, access: Access, history: SeriesHistory) -> None:
        self._control = control
        self._access = access
        self._history = history

    # -- the rollout ----------------------------------------------------------------------------------------------

    async def rollout(self) -> RolloutView:
        return rollout_view(self._control.snapshot())

    async def previews(self, percentages: Collection[int]) -> Mapping[int, Preview]:
        return await self._control.queries.previews(percentages)

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
        if verb == "set" and percentage is None:
            return CommandResult("set needs a percentage, a whole number from 0 to 100")
        if too_long := _too_long(reason):
            return too_long
        command = command_of(verb, _actor(person), reason=reason, revision=revision, percentage=percentage, full=full)
        return await _result_of(self._control.execute(command, person.source))

    async def plan(self) -> Plan:
        return self._control.record.plan

    async def apply_plan(self, plan: Plan, reason: str, revision: int | None, person: Person) -> CommandResult:
        command = ApplyPlan(actor=_actor(person), reason=reason, revision=revision, plan=plan)
        return _too_long(reason) or await _result_of(self._control.execute(command, person.source))

    def changes(self) -> AsyncIterator[None]:
        return self._control.notifier.listen()

    # -- what happened --------------------------------------------------------------------------------------------

    async def events(self, before: int | None, limit: int, wanted: AuditFilter = EVERYTHING) -> AuditPage:
        """Empty while the store is down, because the page has to work for a rollback."""
        try:
            return await self._control.repository.events(before, limit, wanted)
        except StoreUnavailable:
            return AuditPage(items=[], next=None)

    async def exported(self, before: int | None, limit: int, wanted: AuditFilter) -> AuditPage:
        try:
            return await self._control.repository.events(before, limit, wanted)
        except StoreUnavailable as error:
            raise Unavailable from error

    async def series(self, span: Span, until: float | None = None) -> SeriesView:
        return await self._history.view(span, self._control.repository, until)

    async def errors(self) -> ErrorsView:
        return await self._control.queries.errors()

    async def receipt(self, id: str) -> ReceiptView | None:
        try:
            return await self._control.receipt(id)
        except StoreUnavailable as error:
            raise Unavailable from error

    async def note(self, text: str, person: Person) -> CommandResult:
        return _too_long(text) or await _result_of(self._control.note(_actor(person), text, person.source))

    async def health(self) -> HealthView:
        leader, audit = "", None
        with suppress(StoreUnavailable):
            leader = await self._control.repository.leader()
            audit = await self._control.repository.audit_size()
        return health_view(self._control.snapshot(), leader, self._control.folder_trouble(), audit)

    # -- people ---------------------------------------------------------------------------------------------------

    async def sessions(
        self, search: str, path: PathName | None, limit: int, after: tuple[str, str] | None = None
    ) -> SessionsView:
        return await self._control.queries.sessions(path, limit, search, after)

    async def user(self, user_id: str) -> UserView:
        return await self._control.queries.user(user_id)

    async def pin(self, user_id: str, path: PathName | None, reason: str, person: Person) -> CommandResult:
        return _too_long(reason) or await _result_of(
            self._control.pin(_actor(person), user_id, path, reason, source=person.source)
        )

    def person(self, request: PageRequest) -> Person | None:
        visitor: Visitor | None = request.scope.get("user")
        return None if visitor is None else Person(visitor.name, visitor.role, visitor.source, visitor.client)

    def why_nobody(self, request: PageRequest) -> str:
        if request.scope.get("user") is None and self._access.vouched(request):
            return NO_ROLE
        return ""

    async def stays(self, request: PageRequest) -> bool:
        return await self._access.visitor(request) is not None


def _actor(person: Person) -> Actor:
    return Actor(person.name, person.role)


def _too_long(text: str) -> CommandResult | None:
    return (
        CommandResult(f"the text is too long; at most {REASON_CHARACTERS} characters are allowed")
        if len(text) > REASON_CHARACTERS
        else None
    )


async def _result_of(done: Awaitable[None]) -> CommandResult:
    try:
        await done
    except (Refused, StoreUnavailable) as refused:
        return CommandResult(str(refused), stale=isinstance(refused, StaleRevision))
    return CommandResult()
