"""`DELETE /api/cells/{name}`: a person gives up a cell that is gone for good."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete
from litestar.params import PathParameter, QueryParameter

from app.api.authentication import may
from app.api.commands import REASON_CHARACTERS
from app.api.problems import COMMANDED
from app.api.rollout import shown
from app.api.services import TheServices, VisitorRequest, actor_of
from rollout.views import RolloutView

NAME_CHARACTERS = 300
"""Room for a letter, `@`, and a host with its port."""


@delete(
    "/api/cells/{name:str}",
    guards=may("forget"),
    responses=COMMANDED,
    status_code=200,
    tags=["rollout"],
    summary="Give up a cell of another host that is gone for good",
)
async def forget_cell(
    request: VisitorRequest,
    services: TheServices,
    name: Annotated[str, PathParameter(min_length=1, max_length=NAME_CHARACTERS)],
    reason: Annotated[str, QueryParameter(max_length=REASON_CHARACTERS, description="why; written to the audit")],
) -> Response[RolloutView]:
    """Refused while the cell reports and for 30 s after that. A waiting rollback is then verified by the others."""
    await services.control.give_up(actor_of(request.user), name, reason, request.user.source)
    return shown(services)
