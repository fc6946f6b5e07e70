"""`GET /api/series`: the charts as arrays."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get
from litestar.params import QueryParameter

from app.api.authentication import may
from app.api.problems import LOOKED
from app.api.services import TheServices
from app.api.unix_times import finite
from rollout.views import SeriesView, Span


@get(
    "/api/series",
    guards=may("look"),
    responses=LOOKED,
    tags=["rollout"],
    summary="Both paths over time, and a mark for every command",
)
async def series(
    services: TheServices,
    span: Annotated[Span, QueryParameter()] = "15m",
    until: Annotated[float | None, QueryParameter(description="Unix seconds; default: now")] = None,
) -> Response[SeriesView]:
    """Value `i` covers `step_s` seconds, starting at `start + i * step_s`; null: no data."""
    view = await services.history.view(span, services.control.repository, finite("until", until))
    return Response(view, headers={"Cache-Control": "no-store"}, status_code=200)
