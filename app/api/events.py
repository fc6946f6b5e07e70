"""`GET /api/rollout/events`: the audit by pages, filtered, or as a file.

Turns a request into a view; finding is `audit`'s, and the files are those of the pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

from litestar import MediaType, Response, get
from litestar.openapi import ResponseSpec
from litestar.params import QueryParameter

from app.api.audit import EVERYTHING, Filter, search
from app.api.problems import LOOKED
from app.api.rollout import VIEWER
from app.api.services import TheServices, VisitorRequest
from app.control.store.sql import PAGE
from dashboards.export import as_csv, as_lines, every
from dashboards.views import AuditEntry, AuditPage

FILES: Mapping[str, Callable[[Sequence[AuditEntry]], str]] = {"text/csv": as_csv, "application/jsonl": as_lines}
SOUGHT_CHARACTERS = 200
LAST_ID = 2**63 - 1
"""Of an audit entry; no store takes a larger number."""


@get(
    "/api/rollout/events",
    guards=VIEWER,
    responses={200: ResponseSpec(AuditPage, description="A page; or a file", generate_examples=False), **LOOKED},
    tags=["rollout"],
    summary="The audit, the newest first; `next` goes on as `before`",
)
async def events(
    request: VisitorRequest,
    services: TheServices,
    before: Annotated[int | None, QueryParameter(ge=1, le=LAST_ID)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE)] = 50,
    who: Annotated[str, QueryParameter(max_length=SOUGHT_CHARACTERS, description="part of a name")] = "",
    what: Annotated[str, QueryParameter(max_length=SOUGHT_CHARACTERS, description="part of what was done")] = "",
    since: Annotated[float | None, QueryParameter(description="Unix seconds, included")] = None,
    until: Annotated[float | None, QueryParameter(description="Unix seconds, not included")] = None,
) -> Response[AuditPage] | Response[str]:
    """As a file of up to 10,000 entries, whatever `limit` says, with `Accept: text/csv` or `application/jsonl`.

    A search looks through 4,000 entries: a page may have fewer than `limit`, even none, and a `next`. A file that
    could not hold all has a `Link` to the rest.
    """
    keeper, matches = services.control.keeper, Filter(who, what, since, until)
    kind = request.accept.best_match([MediaType.JSON, *FILES], default=MediaType.JSON)
    if kind in FILES:
        audit = await every(lambda start: search(keeper, start, PAGE, matches), before)
        headers = {} if audit.next is None else {"Link": f'<{_onward(request, audit.next)}>; rel="next"'}
        return Response(FILES[kind](audit.items), media_type=kind, headers=headers, status_code=200)
    if matches == EVERYTHING:
        return Response(await keeper.events(before, limit), media_type=MediaType.JSON, status_code=200)
    return Response(await search(keeper, before, limit, matches), media_type=MediaType.JSON, status_code=200)


def _onward(request: VisitorRequest, before: int) -> str:
    query = {**dict(request.query_params.items()), "before": str(before)}
    return f"{request.url.path}?{urlencode(query)}"
