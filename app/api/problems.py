"""What went wrong, as problem details (RFC 9457): one shape, a type that programs can tell apart, words for a person.

An unexpected error tells its reference only; the log has the rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.plugins.problem_details import ProblemDetailsException
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from app.api.examples import PROBLEMS
from app.errors import CellStillThere, CrossfadeError, FactoryError, StateIncompatible, StoreUnavailable, UnknownCell
from rollout.errors import (
    BadPercentage,
    InvalidPlan,
    NotAllowed,
    NotInPhase,
    NoWayBack,
    ReasonMissing,
    Refused,
    RevisionMissing,
    StaleRevision,
)

log = structlog.get_logger()

# Type and title by status, for what the web framework itself refuses.
_TITLES: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "Bad request"),
    401: ("not_signed_in", "Not signed in"),
    403: ("not_allowed", "Not allowed"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Method not allowed"),
    413: ("too_large", "Too large"),
    415: ("unsupported_media_type", "Unsupported media type"),
    422: ("bad_value", "Bad value"),
}
_DESCRIPTIONS: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "Nobody is signed in",
    403: "The role, or the rollout's rules, do not allow it",
    404: "There is no such thing",
    409: "Not possible now",
    412: "Somebody was faster: `who` did `what`, `at` Unix seconds, and made `revision`",
    415: "The body is no JSON by its `Content-Type`",
    422: "A value is wrong",
    428: "`If-Match` is missing",
    503: "The store cannot be reached; a rollback works",
}
_REFUSED: Mapping[type[Refused], tuple[int, str, str]] = {
    NotAllowed: (403, "not_allowed", "Not allowed"),
    NotInPhase: (409, "not_in_phase", "Not possible now"),
    NoWayBack: (409, "no_way_back", "A rollback would lose state"),
    StaleRevision: (412, "stale_revision", "Somebody was faster"),
    BadPercentage: (422, "bad_value", "Bad value"),
    ReasonMissing: (422, "bad_value", "Bad value"),
    RevisionMissing: (428, "revision_missing", "Say what this is based on"),
}


class Problem(Struct, frozen=True):
    """What every refusal has, for the schema; some say more."""

    status: int
    type: str
    title: str
    detail: str


def _refusals(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            Problem,
            description=_DESCRIPTIONS[status],
            media_type="application/problem+json",
            generate_examples=False,
            examples=list(PROBLEMS[status]),
        )
        for status in statuses
    }


LOOKED = _refusals(400, 401, 404, 422, 503)
"""For the schema: how a call that looks may be refused."""
COMMANDED = _refusals(400, 401, 403, 404, 409, 412, 415, 422, 428, 503)
"""And one that changes something."""


def problem(status: int, kind: str, title: str, detail: str, **extra: Any) -> ProblemDetailsException:
    """A problem document, to be raised or rendered."""
    headers: dict[str, str] = extra.pop("headers", {})
    return ProblemDetailsException(
        detail=detail, status_code=status, type_=f"urn:crossfade:{kind}", title=title, extra=extra, headers=headers
    )


AnyRequest = Request[Any, Any, Any]


def on_bad_build(request: AnyRequest, error: CrossfadeError) -> Response[Any]:
    """A build of v3 that does not start, or whose state does not fit; the old one serves on."""
    return problem(422, "bad_build", "This build cannot serve", str(error)).to_response(request)


def on_refused(request: AnyRequest, error: Refused) -> Response[Any]:
    """A command that the rollout's rules refuse."""
    status, kind, title = next(row for known, row in _REFUSED.items() if isinstance(error, known))
    extra: dict[str, Any] = {}
    if isinstance(error, StaleRevision):
        extra = {"revision": error.actual, "who": error.who, "what": error.what, "at": error.at}
        extra["headers"] = {"ETag": f'"{error.actual}"'}
    elif isinstance(error, RevisionMissing):
        extra = {"revision": error.actual, "headers": {"ETag": f'"{error.actual}"'}}
    elif isinstance(error, NotInPhase):
        extra = {"phase": error.phase}
    return problem(status, kind, title, str(error), **extra).to_response(request)


def on_invalid_plan(request: AnyRequest, error: InvalidPlan) -> Response[Any]:
    """A plan with mistakes: all of them, each with its line and field."""
    errors = [{"line": each.line, "field": each.field, "message": each.message} for each in error.errors]
    return problem(422, "invalid_plan", "The plan has mistakes", str(error), errors=errors).to_response(request)


def on_cell(request: AnyRequest, error: CrossfadeError) -> Response[Any]:
    """A cell that cannot be given up."""
    if isinstance(error, UnknownCell):
        return problem(404, "not_found", "Not found", str(error)).to_response(request)
    return problem(409, "cell_still_there", "This cell is still there", str(error)).to_response(request)


def on_store_unavailable(request: AnyRequest, error: StoreUnavailable) -> Response[Any]:
    """Serving goes on and a rollback works; everything else waits for the store."""
    log.warning("answered 503", path=request.url.path, error=str(error))
    detail = "the store cannot be reached; nothing was changed, and only a rollback works without it"
    headers = {"Retry-After": "5"}
    return problem(503, "store_unavailable", "Store unavailable", detail, headers=headers).to_response(request)


def on_http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What the web framework refuses; a value of the wrong kind is 422, whatever part of the request it was in."""
    if isinstance(error, ProblemDetailsException):
        return error.to_response(request)
    status = 422 if isinstance(error, ValidationException) else error.status_code
    if status >= 500:
        return on_unexpected(request, error)
    kind, title = _TITLES.get(status, ("refused", "Refused"))
    extra: dict[str, Any] = {"errors": error.extra} if error.extra else {}
    return problem(status, kind, title, _detail(error), headers=dict(error.headers or {}), **extra).to_response(request)


def _detail(error: HTTPException) -> str:
    """Which parameters are wrong, and how; else what the framework says."""
    wrong = error.extra if isinstance(error, ValidationException) and isinstance(error.extra, list) else []
    said = [f"{each['key']}: {each['message']}" for each in wrong if {"key", "message"} <= each.keys()]
    return "; ".join(said) or error.detail


def on_unexpected(request: AnyRequest, error: Exception) -> Response[Any]:
    """A mistake of ours."""
    reference = secrets.token_hex(6)
    log.error("a request failed", reference=reference, path=request.url.path, exc_info=error)
    detail = f"this was logged with the reference {reference}"
    return problem(500, "internal", "Internal error", detail, reference=reference).to_response(request)


HANDLERS: ExceptionHandlersMap = {
    Refused: on_refused,
    InvalidPlan: on_invalid_plan,
    StoreUnavailable: on_store_unavailable,
    UnknownCell: on_cell,
    CellStillThere: on_cell,
    FactoryError: on_bad_build,
    StateIncompatible: on_bad_build,
    HTTPException: on_http,
    Exception: on_unexpected,
}
