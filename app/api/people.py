"""The calls about users, their pins, sessions, errors, and receipts of rollbacks."""

from __future__ import annotations

from typing import Annotated, TypeVar

from litestar import Controller, MediaType, Response, delete, get, put
from litestar.exceptions import NotFoundException
from litestar.openapi import ResponseSpec
from litestar.params import Body, PathParameter, QueryParameter

from app.api import examples
from app.api.authentication import may
from app.api.commands import REASON_CHARACTERS, PinBody
from app.api.headers import MISSING_CELLS
from app.api.problems import COMMANDED, LOOKED
from app.api.services import TheServices, VisitorRequest, actor_of
from app.api.user_ids import UserId, user_id_of
from app.control.receipt import Receipt, to_markdown
from rollout.names import PathName
from rollout.views import ErrorGroup, SessionView, UserView

SESSIONS = 20_000
T = TypeVar("T")


class UsersApi(Controller):
    path = "/api/users/{user_id:str}"
    tags = ("users",)

    @get(guards=may("look"), responses=LOOKED, summary="Which path a user is on, and why")
    async def who(self, services: TheServices, user_id: UserId) -> UserView:
        return await services.control.queries.user(user_id_of(user_id))

    @put(
        "/pin",
        guards=may("pin"),
        responses=COMMANDED,
        summary="Keep a user on a path, whatever the percentage is; a lock still wins",
    )
    async def pin(
        self,
        request: VisitorRequest,
        services: TheServices,
        user_id: UserId,
        data: Annotated[PinBody, Body(examples=examples.PIN)],
    ) -> UserView:
        user, visitor = user_id_of(user_id), request.user
        await services.control.pin(actor_of(visitor), user, data.path, data.reason.strip(), source=visitor.source)
        return await services.control.queries.user(user)

    @delete(
        "/pin",
        guards=may("pin"),
        responses=COMMANDED,
        status_code=200,
        summary="Remove a user's pin, so that the hash decides again",
    )
    async def unpin(
        self,
        request: VisitorRequest,
        services: TheServices,
        user_id: UserId,
        reason: Annotated[str, QueryParameter(max_length=REASON_CHARACTERS)] = "",
    ) -> UserView:
        user, visitor = user_id_of(user_id), request.user
        await services.control.pin(actor_of(visitor), user, None, reason.strip(), source=visitor.source)
        return await services.control.queries.user(user)


@get("/api/sessions", guards=may("look"), responses=LOOKED, tags=["users"], summary="Open sessions of all cells")
async def sessions(
    services: TheServices,
    path: Annotated[PathName | None, QueryParameter()] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=SESSIONS)] = 1000,
) -> Response[list[SessionView]]:
    view = await services.control.queries.sessions(path, limit)
    return _listed(view.items, view.missing_cells)


@get(
    "/api/errors",
    guards=may("look"),
    responses=LOOKED,
    tags=["rollout"],
    summary="Errors by group, those seen only on v3 first",
)
async def errors(services: TheServices) -> Response[list[ErrorGroup]]:
    view = await services.control.queries.errors()
    return _listed(view.items, view.missing_cells)


def _listed(items: list[T], missing_cells: list[str]) -> Response[list[T]]:
    """The list, with a header that names the cells that are missing in it."""
    headers = {MISSING_CELLS: ", ".join(missing_cells)} if missing_cells else {}
    return Response(items, headers=headers, status_code=200)


@get(
    "/api/rollbacks/{rollback_id:str}",
    guards=may("look"),
    responses={200: ResponseSpec(Receipt, description="The receipt; or Markdown", generate_examples=False), **LOOKED},
    tags=["rollout"],
    summary="The receipt of a rollback",
)
async def rollback_receipt(
    request: VisitorRequest,
    services: TheServices,
    rollback_id: Annotated[str, PathParameter(min_length=1, max_length=64)],
) -> Response[Receipt] | Response[str]:
    receipt = await services.control.receipt(rollback_id)
    if receipt is None:
        raise NotFoundException(detail=f"there was no rollback {rollback_id!r}")
    if "text/markdown" in request.headers.get("accept", ""):
        return Response(to_markdown(receipt), media_type="text/markdown", status_code=200)
    return Response(receipt, media_type=MediaType.JSON, status_code=200)
