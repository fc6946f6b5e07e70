"""The pages' addresses: they ask the `Source`, build a declared context and render it; posts go back to the `Source`.

Nothing here decides anything about a rollout. The service puts its `Source` into the application's state under
`SOURCE`, configures CSRF protection (Litestar's own) and answers the post of the sign-in form.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from litestar import Controller, Response, Router, get, post
from litestar.datastructures import CacheControlHeader, State
from litestar.di import NamedDependency, Provide
from litestar.enums import MediaType, RequestEncodingType
from litestar.params import Body, FromPath, FromQuery, SkipValidation
from litestar.response import Redirect, ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from litestar.static_files import create_static_files_router
from litestar.template.base import csrf_token as csrf_token_of
from msgspec import Struct

from dashboards.contexts import (
    ActPartial,
    Chrome,
    EffectPartial,
    Message,
    OverviewPage,
    SignInPage,
    TryPage,
)
from dashboards.controls import effect
from dashboards.overview import history_page, outcome_message, overview_page, try_page
from dashboards.ports import PageRequest, Person, Source, Verb
from dashboards.render import STATIC, partial, render, render_section
from dashboards.security import secured
from dashboards.streams import Previews, changed_sections

SOURCE = "dashboard_source"
"""Key of the application's state under which the service puts its `Source`."""
RECENT = 8
PAGE_OF_HISTORY = 50
OVERVIEW_SECTIONS = ("top", "state", "rollback", "controls", "figures", "history")
TRY_SECTIONS = ("top", "state", "rollback")


# A Protocol is not checked at run time.
AnySource: TypeAlias = NamedDependency[SkipValidation[Source]]
Someone: TypeAlias = NamedDependency[Person]


class NotSignedIn(Exception):
    """Nobody is signed in: a page sends to the sign-in form, a script's request is told so."""


def provide_source(state: State) -> Source:
    source: Source = state[SOURCE]
    return source


def provide_person(request: PageRequest, source: AnySource) -> Person:
    person = source.person(request)
    if person is None:
        raise NotSignedIn
    return person


def page(template: str, context: Struct, status: int = 200) -> Response[str]:
    return Response(render(template, context), media_type=MediaType.HTML, status_code=status)


def sign_in_page(request: PageRequest, problem: str = "") -> Response[str]:
    """The sign-in form; with a `problem` the answer to a refused token (401). The API's post handler uses it too."""
    context = SignInPage(
        chrome=Chrome("Sign in – Crossfade", "idle", "sign-in"),  # noqa: RUF001
        csrf_token=_csrf(request),
        problem=problem,
    )
    response = page("sign_in.html", context, 401 if problem else 200)
    secured(response)
    return response


def _csrf(request: PageRequest) -> str:
    return csrf_token_of({"request": request})


def _scripted(request: PageRequest) -> bool:
    return request.headers.get("hx-request") == "true"


def _send_to_sign_in(request: PageRequest, _: Exception) -> Response[Any]:
    if _scripted(request):
        return secured(Response("signed out", media_type=MediaType.TEXT, status_code=401))
    return secured(Redirect("/sign-in", status_code=303))


class SignIn(Controller):
    """The form alone; its post is the control API's."""

    include_in_schema = False

    @get("/sign-in")
    async def form(self, request: PageRequest) -> Response[str]:
        return sign_in_page(request)


class Pages(Controller):
    include_in_schema = False
    dependencies: Mapping[str, Provide | Callable[..., Any]] = {"person": Provide(provide_person, sync_to_thread=False)}

    @get("/")
    async def overview(self, request: PageRequest, source: AnySource, person: Someone, state: State) -> Response[str]:
        return page("overview.html", await _overview(source, person, _csrf(request), _previews(state)))

    @get("/try")
    async def chat(self, request: PageRequest, source: AnySource, person: Someone) -> Response[str]:
        return page("try.html", try_page(await source.rollout(), person, _csrf(request)))

    @get("/history")
    async def history(
        self, request: PageRequest, source: AnySource, person: Someone, before: FromQuery[int | None] = None
    ) -> Response[str]:
        audit = await source.events(before, PAGE_OF_HISTORY)
        return page("history.html", history_page(await source.rollout(), audit, person, _csrf(request)))

    @get("/preview")
    async def preview(self, source: AnySource, person: Someone, typed: FromQuery[str] = "") -> Response[str]:
        """What the percentage being typed would do; asked by the page's script for each change of the field."""
        number = _whole(typed)
        if number is None:
            text = EffectPartial(text="a whole percentage, 0 to 100", tone="warn" if typed else "plain")
        else:
            text = EffectPartial(text=effect(await source.preview(number)), tone="plain")
        return page("partials/effect.html", text)

    @get("/stream/{name:str}")
    async def stream(
        self,
        request: PageRequest,
        source: AnySource,
        person: Someone,
        state: State,
        name: FromPath[Literal["overview", "try"]],
    ) -> ServerSentEvent:
        csrf = _csrf(request)

        async def sections() -> Mapping[str, str]:
            if name == "try":
                return _sections(try_page(await source.rollout(), person, csrf))
            return _sections(await _overview(source, person, csrf, _previews(state)))

        return ServerSentEvent(_events(changed_sections(source, sections)))

    @post("/act/{verb:str}")
    async def act(
        self,
        request: PageRequest,
        *,
        source: AnySource,
        person: Someone,
        state: State,
        verb: FromPath[Verb],
        data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[Any]:
        """One click. With a script the changed sections come back, without one the page does."""
        command = _command(data)
        if isinstance(command, str):
            message = outcome_message(verb, None, command)
        else:
            outcome = await source.act(verb, command.percentage, command.reason, command.revision, person)
            message = outcome_message(verb, command.percentage, outcome.refusal)
        refused = message.tone == "bad"
        if not _scripted(request) and not refused:
            return Redirect("/", status_code=303)
        now = await _overview(source, person, _csrf(request), _previews(state), message)
        status = 409 if refused else 200
        if not _scripted(request):
            return page("overview.html", now, status)
        fragments = [partial(name, html) for name, html in _sections(now).items()] + _told(message)
        return Response("".join(fragments), media_type=MediaType.HTML, status_code=status)


class _Command(Struct, frozen=True):
    percentage: int | None
    reason: str
    revision: int | None


def _command(data: Mapping[str, str]) -> _Command | str:
    """The fields of the form, or what is wrong with them. What is typed counts only with the button beside it."""
    text = data.get("typed", "") if "custom" in data else data.get("percentage", "")
    number = _whole(text)
    if number is None and (text or "custom" in data):
        return "a percentage is a whole number, 0 to 100"
    revision = data.get("revision", "")
    return _Command(number, data.get("reason", "").strip(), int(revision) if _digits(revision) else None)


def _whole(text: str) -> int | None:
    return int(text) if _digits(text) and int(text) <= 100 else None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


async def _overview(
    source: Source, person: Person, csrf: str, previews: Previews, message: Message | None = None
) -> OverviewPage:
    view = await source.rollout()
    audit = await source.events(None, RECENT)
    foreseen = await previews.of(source, view.revision)
    return overview_page(view, audit, person, previews=foreseen, csrf_token=csrf, message=message)


def _told(message: Message) -> list[str]:
    """The message in its place, and what an earlier click left in the other one gone."""
    text = render("partials/message.html", ActPartial(message=message))
    return [
        partial(f"message-{place}", text if place == message.place else "", "innerHTML")
        for place in ("rollback", "controls")
    ]


def _sections(shown: OverviewPage | TryPage) -> dict[str, str]:
    names = OVERVIEW_SECTIONS if isinstance(shown, OverviewPage) else TRY_SECTIONS
    return {name: render_section(name, shown) for name in names}


async def _events(fragments: AsyncGenerator[str]) -> AsyncGenerator[ServerSentEventMessage]:
    """Unnamed messages are put into the page; a message named `alive` only says that the stream still runs."""
    try:
        async for html in fragments:
            yield ServerSentEventMessage(data=html) if html else ServerSentEventMessage(event="alive", data="")
    finally:
        await fragments.aclose()


def _previews(state: State) -> Previews:
    previews: Previews = state.setdefault("dashboard_previews", Previews())
    return previews


def make_router() -> Router:
    """All pages and their static files, to be registered by the service."""
    static = create_static_files_router(
        path="/static",
        directories=[STATIC],
        # The digest in the address changes with the file.
        cache_control=CacheControlHeader(max_age=31_536_000, public=True, immutable=True),
        opt={"exclude_from_auth": True, "exclude_from_csrf": True},
    )
    pages = Router(
        path="/",
        route_handlers=[Pages, SignIn],
        dependencies={"source": Provide(provide_source, sync_to_thread=False)},
        exception_handlers={NotSignedIn: _send_to_sign_in},
        after_request=secured,
    )
    return Router(path="/", route_handlers=[pages, static], include_in_schema=False)
