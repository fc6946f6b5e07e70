"""`POST /api/paths/v3/load`: a new build of v3 beside the old one."""

from __future__ import annotations

from typing import Annotated

from litestar import post
from litestar.params import Body

from app.api import examples
from app.api.authentication import may
from app.api.commands import LoadBody
from app.api.problems import COMMANDED
from app.api.services import TheServices, VisitorRequest, actor_of
from rollout.views import Loaded


@post(
    "/api/paths/v3/load",
    guards=may("load"),
    responses=COMMANDED,
    status_code=200,
    tags=["rollout"],
    summary="A new build of v3",
)
async def load_canary(
    request: VisitorRequest, services: TheServices, data: Annotated[LoadBody, Body(examples=examples.LOAD)]
) -> Loaded:
    """Answered when the old worker has no session left and has ended; no socket is closed."""
    return await services.control.load(
        actor_of(request.user),
        factory=data.factory,
        python=data.python,
        build=data.build,
        live=data.live,
        reason=data.reason.strip(),
        source=request.user.source,
    )
