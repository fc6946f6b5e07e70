"""One request for a page: who asks, the service behind it, and the small things that every page needs.

It knows no page's content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from litestar import Response
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.enums import MediaType
from litestar.exceptions import PermissionDeniedException
from litestar.params import SkipValidation
from litestar.template.base import csrf_token as csrf_token_of
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from dashboards.contexts import Chrome, ProblemPage
from dashboards.ports import PageRequest, Person, Source, Unavailable
from dashboards.render import render
from dashboards.security import secured
from dashboards.streams import Previews

SOURCE: Final = "dashboard_source"
"""Key of the application's state under which the service puts its `Source`."""
SEARCH_CHARACTERS = 200


class NotSignedIn(Exception):
    """Nobody is signed in: a page sends to the sign-in form, a script's request is told so."""


class NotThere(Exception):
    """There is nothing of this name; the text says so to a person."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in."""

    request: PageRequest
    source: Source
    person: Person
    previews: Previews

    @property
    def csrf(self) -> str:
        return csrf_of(self.request)

    @property
    def scripted(self) -> bool:
        """Whether the page's script asks, which wants fragments and a status instead of a redirect."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def live(self) -> bool:
        """Whether that page hears its stream, which tells it what changed better than an answer that comes later."""
        return self.request.headers.get("crossfade-live") == "true"

    @property
    def named(self) -> str:
        """The id in the address of a stream, as it is: an id may begin with a space."""
        return str(self.request.query_params.get("id", ""))

    def query(self, name: str) -> str:
        """A parameter of the address, empty when it is not there; never longer than a search makes sense."""
        return str(self.request.query_params.get(name, "")).strip()[:SEARCH_CHARACTERS]


TheVisit: TypeAlias = NamedDependency[SkipValidation[Visit]]


def provide_visit(request: PageRequest, state: State) -> Visit:
    source: Source = state[SOURCE]
    person = source.person(request)
    if person is None:
        raise NotSignedIn
    return Visit(request, source, person, state.setdefault("dashboard_previews", Previews()))


VISIT: Mapping[str, Provide | Callable[..., Any]] = {"visit": Provide(provide_visit, sync_to_thread=False)}


def csrf_of(request: PageRequest) -> str:
    return csrf_token_of({"request": request})


def page(template: str, context: Struct, status: int = 200) -> Response[str]:
    return Response(render(template, context), media_type=MediaType.HTML, status_code=status)


def tell_not_there(request: PageRequest, error: Exception) -> Response[Any]:
    return _problem(request, "Not there", str(error), 404)


def tell_unavailable(request: PageRequest, _: Exception) -> Response[Any]:
    text = "The store does not answer, so this cannot be shown now. The overview and its rollback button work without."
    return _problem(request, "Not now", text, 503)


def tell_reload(request: PageRequest, _: Exception) -> Response[Any]:
    """A form that is not of this page, or older than the sign-in."""
    return _problem(request, "Not done", "This form is too old or not from here. Reload the page and try again.", 403)


def _problem(request: PageRequest, headline: str, text: str, status: int) -> Response[Any]:
    source: Source = request.app.state[SOURCE]
    person = source.person(request) or Person("", "viewer")
    chrome = Chrome(f"{headline} – Crossfade", "idle", "other", person.name, person.role)  # noqa: RUF001
    context = ProblemPage(chrome=chrome, csrf_token=csrf_of(request), headline=headline, text=text)
    return secured(page("problem.html", context, status))


PROBLEMS: ExceptionHandlersMap = {
    NotThere: tell_not_there,
    Unavailable: tell_unavailable,
    PermissionDeniedException: tell_reload,
}
