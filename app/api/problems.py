"""Answers errors: a browser gets a page, and everybody else a problem document, whose type is for programs and whose
detail is for a person.

An unexpected error is answered with a reference only; the log has the rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.types import ExceptionHandlersMap

from app.api.etags import etag_of
from app.api.examples import PROBLEMS
from app.data_folder import FolderLost
from app.errors import CellStillThere, CrossfadeError, FactoryError, StateIncompatible, StoreUnavailable, UnknownCell
from app.problem import MEDIA_TYPE, Problem, encode_problem, problem_of
from dashboards.problem import TROUBLES, Trouble, problem_page, trouble_of, wants_page
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
    TooManyPins,
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
    TooManyPins: (409, "too_many_pins", "Too many pins"),
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


class ProblemDocument(Response[bytes]):
    """A problem as an answer."""

    def __init__(self, problem: Problem, members: Members | None, headers: Mapping[str, str]) -> None:
        body = encode_problem(problem, members)
        super().__init__(body, status_code=problem.status, headers=dict(headers), media_type=MEDIA_TYPE)
        self.problem = problem


def answer(
    problem: Problem, members: Members | None = None, headers: Mapping[str, str] | None = None
) -> ProblemDocument:
    """The problem document as an answer."""
    return ProblemDocument(problem, members, headers or {})


def on_bad_build(_: AnyRequest, error: CrossfadeError) -> ProblemDocument:
    """A build of v3 that does not start, or whose state is not compatible; the old build serves on."""
    return answer(problem_of(422, str(error), "bad_build", "This build cannot serve"))


def on_refused(_: AnyRequest, error: Refused) -> ProblemDocument:
    """A command that the rules of the rollout refuse."""
    status, kind, title = next(row for known, row in _REFUSED.items() if isinstance(error, known))
    problem = problem_of(status, str(error), kind, title)
    if isinstance(error, StaleRevision):
        members = {"revision": error.actual, "who": error.who, "what": error.what, "at": error.at}
        return answer(problem, members, {"ETag": etag_of(error.actual)})
    if isinstance(error, RevisionMissing):
        return answer(problem, {"revision": error.actual}, {"ETag": etag_of(error.actual)})
    return answer(problem, {"phase": error.phase} if isinstance(error, NotInPhase) else None)


def on_invalid_plan(_: AnyRequest, error: InvalidPlan) -> ProblemDocument:
    """A plan with mistakes: names every mistake with its line and field."""
    errors = [{"line": each.line, "field": each.field, "message": each.message} for each in error.errors]
    return answer(problem_of(422, str(error), "invalid_plan", "The plan has mistakes"), {"errors": errors})


def on_cell(_: AnyRequest, error: CrossfadeError) -> ProblemDocument:
    """A cell that cannot be given up."""
    if isinstance(error, UnknownCell):
        return answer(problem_of(404, str(error)))
    return answer(problem_of(409, str(error), "cell_still_there", "This cell is still there"))


def on_store_unavailable(request: AnyRequest, error: StoreUnavailable) -> ProblemDocument:
    """The store does not answer: users are served and a rollback works, everything else is refused."""
    log.warning("answered 503", path=request.url.path, error=str(error))
    cause = error.__cause__
    why = cause.words if isinstance(cause, FolderLost) else "the store cannot be reached"
    detail = f"{why}; nothing was changed, and only a rollback works without it"
    problem = problem_of(503, detail, "store_unavailable", "Store unavailable")
    return answer(problem, headers={"Retry-After": "5"})


def on_http(request: AnyRequest, error: HTTPException) -> ProblemDocument:
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


def on_unexpected(request: AnyRequest, error: Exception) -> ProblemDocument:
    """A bug: the answer contains only the reference under which the log has the details."""
    reference = secrets.token_hex(6)
    log.error("a request failed", reference=reference, path=request.url.path, exc_info=error)
    detail = f"this was logged with the reference {reference}"
    return answer(problem_of(500, detail, "internal", "Internal error"), {"reference": reference})


def on_trouble(request: AnyRequest, error: Exception) -> ProblemDocument:
    """What a page cannot show, for a program."""
    if isinstance(error, HTTPException):
        return on_http(request, error)
    trouble = trouble_of(error)
    return answer(problem_of(trouble.status, trouble.text), headers=trouble.headers)


Handler: TypeAlias = Callable[[AnyRequest, Any], ProblemDocument]


def by_accept(
    handler: Handler, words: Callable[[Exception], Trouble] | None = None
) -> Callable[[AnyRequest, Any], Response[Any]]:
    """The same handler, whose answer a browser gets as a page, perhaps in other `words`."""

    def handle(request: AnyRequest, error: Exception) -> Response[Any]:
        document = handler(request, error)
        if not wants_page(request):
            return document
        if words is not None:
            return problem_page(request, words(error))
        problem = document.problem
        text = problem.detail[:1].upper() + problem.detail[1:]
        if isinstance(error, ValidationException):
            text = f"Something in this address or form is not what it has to be. {text}"
        kept = {name: value for name, value in document.headers.items() if name.lower() != "content-type"}
        return problem_page(request, Trouble(problem.status, problem.title, text.rstrip(".") + ".", kept))

    return handle


HANDLERS: ExceptionHandlersMap = {
    Refused: by_accept(on_refused),
    InvalidPlan: by_accept(on_invalid_plan),
    StoreUnavailable: by_accept(on_store_unavailable),
    UnknownCell: by_accept(on_cell),
    CellStillThere: by_accept(on_cell),
    FactoryError: by_accept(on_bad_build),
    StateIncompatible: by_accept(on_bad_build),
    HTTPException: by_accept(on_http),
    Exception: by_accept(on_unexpected),
}
"""For the control API, and for whatever has no handlers of its own."""
PAGE_HANDLERS: ExceptionHandlersMap = {**HANDLERS, **dict.fromkeys(TROUBLES, by_accept(on_trouble, trouble_of))}
"""For the pages, where a missing permission means a form that is not of ours."""
