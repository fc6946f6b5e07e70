"""`/api/rollout`: shows the rollout and takes commands. Every handler turns a request into a view or a command."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import Body, HeaderParameter, QueryParameter
from msgspec import Struct

from app.api import examples
from app.api.authentication import may
from app.api.body_limits import PLAN_BYTES
from app.api.commands import (
    NoteBody,
    PercentageBody,
    PlanBody,
    PromoteBody,
    ReasonBody,
    StartBody,
    command_of,
)
from app.api.etags import etag_of, revision_of, unchanged
from app.api.problems import COMMANDED, LOOKED
from app.api.services import Services, TheServices, VisitorRequest, actor_of
from app.control.change import Change
from app.control.views import plan_view, rollout_view
from rollout.events import ApplyPlan, Rollback
from rollout.names import Verb
from rollout.plan_reader import parse_toml
from rollout.plan_writer import dump_toml
from rollout.views import Preview, RolloutView, StageView

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description='the revision this is based on, in quotes: `"7"`, weakened (`W/"7"`) or in a list',
        examples=examples.REVISION,
    ),
]
IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description='a revision that is here already, such as `"7"`')
]
_UNCHANGED = ResponseSpec(None, description="It is that of the revision in `If-None-Match`", generate_examples=False)
_ROLLOUT = ResponseSpec(
    RolloutView, description="The rollout after the command", generate_examples=False, examples=examples.ROLLOUT
)
SHOWN = {200: _ROLLOUT, **LOOKED}
CHANGED = {200: _ROLLOUT, **COMMANDED}


class PlanDocument(Struct, frozen=True):
    """`GET /api/rollout/plan`: the plan as a file for git, and its stages."""

    name: str
    stages: list[StageView]
    revision: int
    toml: str


def reason_only(verb: Verb, summary: str) -> HTTPRouteHandler:
    """The handler of a verb whose body has only a reason."""
    operation = (
        f"ApiRollout{verb.title()}{verb.title()}"  # as Litestar names the handlers that have a name of their own
    )

    @post(f"/{verb}", guards=may(verb), responses=CHANGED, status_code=200, summary=summary, operation_id=operation)
    async def command(
        self: RolloutApi,
        request: VisitorRequest,
        services: TheServices,
        data: Annotated[ReasonBody | None, Body(examples=examples.REASON)] = None,
        if_match: IfMatch = None,
    ) -> Response[RolloutView]:
        return await commanded(verb, request, services, data or ReasonBody(), if_match)

    return command


class RolloutApi(Controller):
    path = "/api/rollout"
    tags = ("rollout",)

    @get(guards=may("look"), responses=SHOWN, summary="Where the rollout is, both paths side by side, the evidence")
    async def look(self, services: TheServices) -> Response[RolloutView]:
        return shown(services)

    @post(
        "/start",
        guards=may("start"),
        responses=CHANGED,
        status_code=200,
        summary="Start with the plan's first stage, or with a percentage",
    )
    async def start(
        self,
        request: VisitorRequest,
        services: TheServices,
        data: Annotated[StartBody | None, Body(examples=examples.START)] = None,
        if_match: IfMatch = None,
    ) -> Response[RolloutView]:
        body = data or StartBody()
        return await commanded("start", request, services, body, if_match, percentage=body.percentage)

    @post(
        "/percentage",
        guards=may("set"),
        responses=CHANGED,
        status_code=200,
        summary="Set a percentage now; the plan's clock stops",
    )
    async def set_percentage(
        self,
        request: VisitorRequest,
        services: TheServices,
        data: Annotated[PercentageBody, Body(examples=examples.SET)],
        if_match: IfMatch = None,
    ) -> Response[RolloutView]:
        return await commanded("set", request, services, data, if_match, percentage=data.percentage)

    @post(
        "/promote",
        guards=may("promote"),
        responses=CHANGED,
        status_code=200,
        summary="Go to the next stage, or to 100 %",
    )
    async def promote(
        self,
        request: VisitorRequest,
        services: TheServices,
        data: Annotated[PromoteBody | None, Body(examples=examples.PROMOTE)] = None,
        if_match: IfMatch = None,
    ) -> Response[RolloutView]:
        body = data or PromoteBody()
        return await commanded("promote", request, services, body, if_match, full=body.full)

    pause = reason_only("pause", "Stop the plan's clock; the percentage stays")
    resume = reason_only("resume", "Continue after a pause or a percentage set by hand")
    undo = reason_only("undo", "Take back a rollback that a person made")
    unlock = reason_only("unlock", "Lift the lock, with a reason; idle at 0 %")

    @post(
        "/rollback",
        guards=may("rollback"),
        responses=CHANGED,
        status_code=200,
        summary="Move everyone to v2 and lock; wins over everything",
    )
    async def rollback(
        self,
        request: VisitorRequest,
        services: TheServices,
        data: Annotated[ReasonBody | None, Body(examples=examples.REASON)] = None,
    ) -> Response[RolloutView]:
        return await commanded("rollback", request, services, data or ReasonBody(), None)

    @get(
        "/plan",
        guards=may("look"),
        responses={**LOOKED, 304: _UNCHANGED},
        summary="The plan in force, as TOML and as its stages",
    )
    async def plan(
        self, services: TheServices, if_none_match: IfNoneMatch = None
    ) -> Response[PlanDocument] | Response[None]:
        state = services.control.record
        headers = {"ETag": etag_of(state.revision)}
        if unchanged(if_none_match, state.revision):
            return Response(None, headers=headers, status_code=304)
        view = plan_view(state.plan)
        document = PlanDocument(view.name, view.stages, state.revision, dump_toml(state.plan))
        return Response(document, headers=headers, status_code=200)

    @put(
        "/plan",
        guards=may("plan"),
        request_max_body_size=PLAN_BYTES,
        responses=CHANGED,
        summary="Put another plan in force; a refusal names every mistake in it",
    )
    async def apply_plan(
        self,
        request: VisitorRequest,
        services: TheServices,
        data: Annotated[PlanBody, Body(examples=examples.PLAN)],
        if_match: IfMatch = None,
    ) -> Response[RolloutView]:
        plan = parse_toml(data.toml)
        revision = revision_of(if_match, services.control.record.revision)
        command = ApplyPlan(actor=actor_of(request.user), reason=data.reason, revision=revision, plan=plan)
        return await carried_out(request, services, command)

    @post(
        "/notes",
        guards=may("note"),
        responses=COMMANDED,
        status_code=204,
        summary="Add a note to the audit and the charts",
    )
    async def note(
        self, request: VisitorRequest, services: TheServices, data: Annotated[NoteBody, Body(examples=examples.NOTE)]
    ) -> None:
        await services.control.note(actor_of(request.user), data.text, request.user.source)

    @get(
        "/preview", guards=may("look"), responses=LOOKED, summary="Users and open sessions that a percentage would move"
    )
    async def preview(self, services: TheServices, percentage: Annotated[int, QueryParameter(ge=0, le=100)]) -> Preview:
        return await services.control.queries.preview(percentage)


async def commanded(
    verb: Verb,
    request: VisitorRequest,
    services: Services,
    body: StartBody | PercentageBody | PromoteBody | ReasonBody,
    if_match: str | None,
    *,
    percentage: int | None = None,
    full: bool = False,
) -> Response[RolloutView]:
    """Execute the command for `verb`, and show the rollout after it."""
    command = command_of(
        verb,
        actor_of(request.user),
        reason=body.reason.strip(),
        revision=revision_of(if_match, services.control.record.revision),
        percentage=percentage,
        full=full,
    )
    return await carried_out(request, services, command)


async def carried_out(request: VisitorRequest, services: Services, command: Change | Rollback) -> Response[RolloutView]:
    """Execute a command, and show the rollout after it."""
    await services.control.execute(command, request.user.source)
    return shown(services)


def shown(services: Services) -> Response[RolloutView]:
    """The rollout with its revision as ETag."""
    view = rollout_view(services.control.snapshot())
    return Response(view, headers={"ETag": etag_of(view.revision), "Cache-Control": "no-store"}, status_code=200)
