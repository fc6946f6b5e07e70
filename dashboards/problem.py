"""The page that says why what was asked for cannot be shown or done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from litestar import Response
from litestar.exceptions import PermissionDeniedException

from dashboards.base.page import Chrome, Page, title_of
from dashboards.base.person import Person
from dashboards.base.places import NoPlace
from dashboards.base.security import secured
from dashboards.base.source import PageRequest, Source, Unavailable
from dashboards.base.visit import SOURCE, Mistyped, NotThere, answer, csrf_of

NOT_NOW = "The store does not answer, so this cannot be shown now. The overview and its rollback button still work."
RELOAD = "This form is too old or not from here. Reload the page and try again."


class ProblemPage(Page, frozen=True, kw_only=True):
    template = "problem.html"
    headline: str
    text: str


class Trouble(NamedTuple):
    """Why a page is not shown, for a person."""

    status: int
    headline: str
    text: str
    headers: Mapping[str, str] = {}


def trouble_of(error: Exception) -> Trouble:
    """Of an exception of `TROUBLES`."""
    match error:
        case NotThere():
            return Trouble(404, "Not found", str(error))
        case Mistyped():
            return Trouble(422, "Not understood", f"{error}.")
        case Unavailable():
            return Trouble(503, "Not now", NOT_NOW, {"Retry-After": "5"})
        case NoPlace(status=status):
            return Trouble(status, "Too many streams", str(error), {"Retry-After": "30"})
        case _:  # a form that is not of this page, or older than the sign-in
            return Trouble(403, "Not done", RELOAD)


TROUBLES: tuple[type[Exception], ...] = (NotThere, Mistyped, Unavailable, NoPlace, PermissionDeniedException)
"""What the pages raise and leave to the application to answer: to people with `problem_page`."""


def wants_page(request: PageRequest) -> bool:
    """Whether this is a person's browser; neither a program nor a script of a page, which look at the status."""
    headers = request.headers
    return headers.get("hx-request") != "true" and "text/html" in headers.get("accept", "")


def problem_page(request: PageRequest, trouble: Trouble) -> Response[Any]:
    source: Source = request.app.state[SOURCE]
    person = source.person(request) or Person("", "viewer")
    chrome = Chrome(title_of(trouble.headline), "idle", "other", person.name, person.role)
    context = ProblemPage(chrome=chrome, csrf_token=csrf_of(request), headline=trouble.headline, text=trouble.text)
    response = answer(context, trouble.status)
    response.headers.update(trouble.headers)
    return secured(response)
