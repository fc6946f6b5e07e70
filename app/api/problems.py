"""Answers errors with problem documents, whose type is for programs and whose detail is for a person.

An unexpected error is answered with a reference only; the log has the rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, TypeAlias

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.types import ExceptionHandlersMap

from app.api.examples import PROBLEMS
from app.errors import CellStillThere, CrossfadeError, FactoryError, StateIncompatible, StoreUnavailable, UnknownCell
from app.problem import MEDIA_TYPE, Problem, encode_problem, problem_of
from rollout.errors import (
    BadPercentage,
    BuildsDiffer,
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

_DESCRIPTIONS: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "Nobody is signed in",
    403: "The role or the rollout's rules do not allow it",
    404: "There is no such thing",
    409: "Not possible now",
    412: "Somebody was faster: `who` did `what` at the Unix time `at`, which made `revision`",
    413: "The body is too large",
    414: "The request line is too long",
    415: "The `Content-Type` of the body is not JSON",
    422: "A value is wrong",
    428: "`If-Match` is missing",
    503: "The store cannot be reached; a rollback works",
}
_REFUSED: Mapping[type[Refused], tuple[int, str, str]] = {
    NotAllowed: (403, "not_allowed", "Not allowed"),
    NotInPhase: (409, "not_in_phase", "Not possible now"),
    BuildsDiffer: (409, "builds_differ", "Cells run different builds of v3"),
    NoWayBack: (409, "no_way_back", "A rollback would lose state"),
    StaleRevision: (412, "stale_revision", "Somebody was faster"),
    BadPercentage: (422, "bad_value", "Bad value"),
    ReasonMissing: (422, "bad_value", "Bad value"),
    RevisionMissing: (428, "revision_missing", "Say what this is based on"),
}


def _refusals(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            Problem,
            description=_DESCRIPTIONS[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
            examples=list(PROBLEMS[status]),
        )
        for status in statuses
    }


LOOKED = _refusals(400, 401, 404, 414, 422, 503)
"""For the schema: how a call that only reads may be refused."""
COMMANDED = _refusals(400, 401, 403, 404, 409, 412, 413, 414, 415, 422, 428, 503)
"""For the schema: how a call that changes something may be refused."""


AnyRequest = Request[Any, Any, Any]
Members: TypeAlias = Mapping[str, object]
"""Members of a problem document beyond the usual ones."""


class ProblemRaised(HTTPException):
    """A refusal that a part without a handler of its own raises; `on_http` answers it."""

    def __init__(self, problem: Problem, members: Members | None = None) -> None:
        super().__init__(detail=problem.detail, status_code=problem.status)
        self.problem = problem
        self.members = members


def answer(
    problem: Problem, members: Members | None = None, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """The problem document as an answer."""
    body = encode_problem(problem, members)
    return Response(body, status_code=problem.status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def on_bad_build(_: AnyRequest, error: CrossfadeError) -> Response[bytes]:
    """A build of v3 that does not start, or whose state is not compatible; the old build serves on."""
    return answer(problem_of(422, str(error), "bad_build", "This build cannot serve"))


def on_refused(_: AnyRequest, error: Refused) -> Response[bytes]:
    """A command that the rules of the rollout refuse."""
    status, kind, title = next(row for known, row in _REFUSED.items() if isinstance(error, known))
    problem = problem_of(status, str(error), kind, title)
    if isinstance(error, StaleRevision):
        members = {"revision": error.actual, "who": error.who, "what": error.what, "at": error.at}
        return answer(problem, members, {"ETag": f'"{error.actual}"'})
    if isinstance(error, RevisionMissing):
        return answer(problem, {"revision": error.actual}, {"ETag": f'"{error.actual}"'})
    return answer(problem, {"phase": error.phase} if isinstance(error, NotInPhase) else None)


def on_invalid_plan(_: AnyRequest, error: InvalidPlan) -> Response[bytes]:
    """A plan with mistakes: names every mistake with its line and field."""
    errors = [{"line": each.line, "field": each.field, "message": each.message} for each in error.errors]
    return answer(problem_of(422, str(error), "invalid_plan", "The plan has mistakes"), {"errors": errors})


def on_cell(_: AnyRequest, error: CrossfadeError) -> Response[bytes]:
    """A cell that cannot be given up."""
    if isinstance(error, UnknownCell):
        return answer(problem_of(404, str(error)))
    return answer(problem_of(409, str(error), "cell_still_there", "This cell is still there"))


def on_store_unavailable(request: AnyRequest, error: StoreUnavailable) -> Response[bytes]:
    """The store does not answer: users are served and a rollback works, everything else is refused."""
    log.warning("answered 503", path=request.url.path, error=str(error))
    detail = "the store cannot be reached; nothing was changed, and only a rollback works without it"
    problem = problem_of(503, detail, "store_unavailable", "Store unavailable")
    return answer(problem, headers={"Retry-After": "5"})


def on_http(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """A refusal of the web framework; a wrong value is 422, whichever part of the request it is in."""
    if isinstance(error, ProblemRaised):
        return answer(error.problem, error.members)
    status = 422 if isinstance(error, ValidationException) else error.status_code
    if status >= 500:
        return on_unexpected(request, error)
    if status == 413:
        most = request.route_handler.resolve_request_max_body_size()
        return answer(problem_of(status, f"the body of this call has {most} bytes at most"))
    return answer(
        problem_of(status, _detail(error)), {"errors": error.extra} if error.extra else None, error.headers or None
    )


def _detail(error: HTTPException) -> str:
    """Which parameters are wrong and why; without any, the framework's own text."""
    wrong = error.extra if isinstance(error, ValidationException) and isinstance(error.extra, list) else []
    parts = [f"{each['key']}: {each['message']}" for each in wrong if {"key", "message"} <= each.keys()]
    return "; ".join(parts) or error.detail


def on_unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    """A bug: the answer contains only the reference under which the log has the details."""
    reference = secrets.token_hex(6)
    log.error("a request failed", reference=reference, path=request.url.path, exc_info=error)
    detail = f"this was logged with the reference {reference}"
    return answer(problem_of(500, detail, "internal", "Internal error"), {"reference": reference})


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
