"""`GET /api/rollout/events`: the audit in pages or as a file, with filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from litestar import MediaType, Response, get
from litestar.openapi import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from app.api.authentication import may
from app.api.problems import LOOKED
from app.api.services import TheServices, VisitorRequest
from app.api.unix_times import finite
from app.store.port import AUDIT_PAGE
from dashboards.export import MEDIA_TYPES, PIECE, Kind, export
from rollout.views import AuditFilter, AuditPage

FILES: Mapping[str, Kind] = {media_type: kind for kind, media_type in MEDIA_TYPES.items()}
FILTER_CHARACTERS = 200
LAST_ID = 2**63 - 1
"""Largest id of an audit entry that a store can hold."""


@get(
    "/api/rollout/events",
    guards=may("look"),
    responses={200: ResponseSpec(AuditPage, description="A page; or a file", generate_examples=False), **LOOKED},
    tags=["rollout"],
    summary="The audit, the newest first; `next` is the `before` of the next page",
)
async def events(
    request: VisitorRequest,
    services: TheServices,
    before: Annotated[int | None, QueryParameter(ge=1, le=LAST_ID)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=AUDIT_PAGE)] = 50,
    who: Annotated[str, QueryParameter(max_length=FILTER_CHARACTERS, description="part of a name")] = "",
    what: Annotated[str, QueryParameter(max_length=FILTER_CHARACTERS, description="part of what was done")] = "",
    since: Annotated[float | None, QueryParameter(description="Unix seconds, included")] = None,
    until: Annotated[float | None, QueryParameter(description="Unix seconds, not included")] = None,
) -> Response[Any]:
    """With `Accept: text/csv` or `application/jsonl`, a file of all entries that match, whatever `limit` is."""
    repository = services.control.repository
    wanted = AuditFilter(who=who, what=what, since=finite("since", since), until=finite("until", until))
    media_type = request.accept.best_match([MediaType.JSON, *FILES], default=MediaType.JSON)
    if media_type in FILES:
        pieces = await export(FILES[media_type], before, lambda start: repository.events(start, PIECE, wanted))
        return Stream(pieces, media_type=media_type, status_code=200)
    return Response(await repository.events(before, limit, wanted), media_type=MediaType.JSON, status_code=200)
