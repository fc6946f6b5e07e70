"""The page that says why what was asked for cannot be shown or done."""

from __future__ import annotations

from typing import Any

from litestar import Response
from litestar.exceptions import PermissionDeniedException
from litestar.types import ExceptionHandlersMap

from dashboards.base.page import Chrome, Page, title_of
from dashboards.base.person import Person
from dashboards.base.security import secured
from dashboards.base.source import PageRequest, Source, Unavailable
from dashboards.base.visit import SOURCE, NotThere, answer, csrf_of


class ProblemPage(Page, frozen=True, kw_only=True):
    template = "problem.html"
    headline: str
    text: str


def tell_not_there(request: PageRequest, error: Exception) -> Response[Any]:
    return _problem(request, "Not found", str(error), 404)


def tell_unavailable(request: PageRequest, _: Exception) -> Response[Any]:
    text = "The store does not answer, so this cannot be shown now. The overview and its rollback button still work."
    return _problem(request, "Not now", text, 503)


def tell_reload(request: PageRequest, _: Exception) -> Response[Any]:
    """A form that is not of this page, or older than the sign-in."""
    text = "This form is too old or not from here. Reload the page and try again."
    return _problem(request, "Not done", text, 403)


def _problem(request: PageRequest, headline: str, text: str, status: int) -> Response[Any]:
    source: Source = request.app.state[SOURCE]
    person = source.person(request) or Person("", "viewer")
    chrome = Chrome(title_of(headline), "idle", "other", person.name, person.role)
    context = ProblemPage(chrome=chrome, csrf_token=csrf_of(request), headline=headline, text=text)
    return secured(answer(context, status))


def tell_too_large(request: PageRequest, _: Exception) -> Response[Any]:
    return _problem(request, "Too large", "What was sent is too large for this form. Nothing was changed.", 413)


PROBLEMS: ExceptionHandlersMap = {
    NotThere: tell_not_there,
    Unavailable: tell_unavailable,
    PermissionDeniedException: tell_reload,
    413: tell_too_large,
}
