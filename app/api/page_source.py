"""The service as the pages see it: the same control loop, the same rules, for somebody with a session cookie.

It must not know what a page looks like.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.api.access import Access
from app.api.commands import REASON_CHARACTERS, command_of
from app.control.controller import Controller
from app.control.history import History
from app.control.overview import preview, rollout_view
from app.errors import StoreUnavailable
from dashboards.ports import Outcome, PageRequest, Person, Verb
from dashboards.views import AuditPage, Preview, RolloutView
from rollout.errors import Refused
from rollout.events import Actor


class PageSource:
    """Implements `dashboards.ports.Source`."""

    def __init__(self, control: Controller, access: Access, history: History) -> None:
        self._control = control
        self._access = access
        self._history = history

    async def rollout(self) -> RolloutView:
        return rollout_view(self._control.known())

    async def events(self, before: int | None, limit: int) -> AuditPage:
        """The audit; empty while the store is down, because the page has to work for a rollback."""
        try:
            return await self._control.keeper.events(before, limit)
        except StoreUnavailable:
            return AuditPage(items=[], next=None)

    async def preview(self, percentage: int) -> Preview:
        return preview(self._control.known(), percentage)

    async def act(
        self, verb: Verb, percentage: int | None, reason: str, revision: int | None, person: Person
    ) -> Outcome:
        if len(reason) > REASON_CHARACTERS:
            return Outcome(f"a reason has at most {REASON_CHARACTERS} characters")
        if verb == "set" and percentage is None:
            return Outcome("set needs a percentage")
        actor = Actor(person.name, person.role)
        try:
            command = command_of(verb, actor, reason=reason, revision=revision, percentage=percentage)
            await self._control.execute(command, "page")
        except (Refused, StoreUnavailable) as refused:
            return Outcome(str(refused))
        return Outcome()

    def changes(self) -> AsyncIterator[None]:
        return self._control.changes.listen()

    def person(self, request: PageRequest) -> Person | None:
        visitor = self._access.signed_in(request)
        return None if visitor is None else Person(visitor.name, visitor.role)
