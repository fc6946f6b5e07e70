"""One request for a page by somebody who is signed in, and the answer to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from litestar import Response
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.enums import MediaType, RequestEncodingType
from litestar.params import Body, SkipValidation
from litestar.template.base import csrf_token as csrf_token_of

from dashboards.base.person import Person
from dashboards.base.render import TemplateContext, render
from dashboards.base.source import PageRequest, Source

SOURCE: Final = "dashboard_source"
"""Key of the application's state under which the service puts its `Source`."""
SEARCH_CHARACTERS = 200
Form: TypeAlias = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


class NotSignedIn(Exception):
    """Nobody is signed in: a page sends to the sign-in form, a script's request is told so."""


class NotThere(Exception):
    """There is nothing of this name; the text says so to a person."""


class Mistyped(Exception):
    """A part of an address is not what it has to be; the text says so to a person."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in."""

    request: PageRequest
    source: Source
    person: Person

    @property
    def csrf(self) -> str:
        return csrf_of(self.request)

    @property
    def scripted(self) -> bool:
        """Whether the page's script asks, which wants fragments and a status instead of a redirect."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def live(self) -> bool:
        """Whether that page hears of changes, and so fetches its sections after the answer by itself."""
        return self.request.headers.get("crossfade-live") == "true"

    @property
    def id(self) -> str:
        """The id in the address of sections, unchanged: an id may begin with a space."""
        return str(self.request.query_params.get("id", ""))

    def query(self, name: str) -> str:
        """A parameter of the address, empty when it is missing, and cut where no search makes sense any more."""
        return str(self.request.query_params.get(name, "")).replace("\0", "").strip()[:SEARCH_CHARACTERS]


TheVisit: TypeAlias = NamedDependency[SkipValidation[Visit]]


def provide_visit(request: PageRequest, state: State) -> Visit:
    """Raises NotSignedIn."""
    source: Source = state[SOURCE]
    person = source.person(request)
    if person is None:
        raise NotSignedIn
    return Visit(request, source, person)


VISIT: Mapping[str, Provide | Callable[..., Any]] = {"visit": Provide(provide_visit, sync_to_thread=False)}
"""Dependencies of the pages' routes."""


def csrf_of(request: PageRequest) -> str:
    return csrf_token_of({"request": request})


def answer(context: TemplateContext, status: int = 200) -> Response[str]:
    """A rendered template as HTML."""
    return Response(render(context), media_type=MediaType.HTML, status_code=status)
