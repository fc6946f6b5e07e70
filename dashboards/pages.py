"""The addresses of the overview, of `/try` and of every page's stream; posts go back to the `Source`.

Nothing here decides anything about a rollout. The service puts its `Source` into the application's state under
`SOURCE`, configures CSRF protection (Litestar's own) and answers the post of the sign-in form.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Literal, TypeAlias

from litestar import Controller, MediaType, Response, Router, get, post
from litestar.datastructures import CacheControlHeader
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from litestar.static_files import create_static_files_router
from msgspec import Struct

from dashboards.charts import charts, no_charts
from dashboards.contexts import ActPartial, ClickResult, EffectPartial, LivePage, OverviewPage, ServedPartial, TryPage
from dashboards.controls import effect
from dashboards.detail_pages import (
    DetailPages,
    Form,
    show_errors,
    show_health,
    show_history,
    show_plan,
    show_receipt,
    show_sessions,
    show_user,
)
from dashboards.details import all_errors, why
from dashboards.overview import outcome_message, overview_page, try_page
from dashboards.ports import Verb
from dashboards.render import STATIC, partial, render, render_section
from dashboards.security import secured
from dashboards.sign_in import SignIn, send_to_sign_in
from dashboards.streams import changed_sections
from dashboards.visit import PROBLEMS, SOURCE, VISIT, NotSignedIn, TheVisit, Visit, page
from rollout.views import Span

__all__ = ["OVERVIEW_SECTIONS", "SOURCE", "TRY_SECTIONS", "make_router"]

RECENT = 8
RECENT_ERRORS = 5
OVERVIEW_SECTIONS = ("top", "state", "rollback", "controls", "figures", "history", "errors")
TRY_SECTIONS = ("top", "state", "rollback")
SLOW_S = 5.0
"""A list of thousands of sessions is made again at most so often for an open page."""

Live: TypeAlias = Literal["overview", "try", "sessions", "user", "errors", "history", "receipt", "plan", "health"]


async def show_overview(visit: Visit, message: ClickResult | None = None, span: Span | None = None) -> OverviewPage:
    """Without a span there are no charts on it: a stream leaves them alone, and the page's script asks for numbers."""
    source = visit.source
    view = await source.rollout()
    return overview_page(
        view,
        await source.events(None, RECENT),
        visit.person,
        previews=await visit.previews.of(source, view.revision),
        charts=no_charts() if span is None else charts(await source.series(span), "/"),
        errors=all_errors(await source.errors(), view.now, RECENT_ERRORS),
        csrf_token=visit.csrf,
        message=message,
    )


async def show_try(visit: Visit) -> TryPage:
    return try_page(await visit.source.rollout(), visit.person, visit.csrf)


# What of a page changes by itself, and how the page is made.
LIVE: Mapping[Live, tuple[tuple[str, ...], Callable[[Visit], Awaitable[LivePage]]]] = {
    "overview": (OVERVIEW_SECTIONS, show_overview),
    "try": (TRY_SECTIONS, show_try),
    "sessions": (("top", "sessions"), show_sessions),
    "user": (("top", "user", "sessions"), show_user),
    "errors": (("top", "errors"), show_errors),
    "history": (("top", "history"), show_history),
    "receipt": (("top", "receipt", "errors", "history"), show_receipt),
    "plan": (("top", "plan"), show_plan),
    "health": (("top", "health"), show_health),
}


class Pages(Controller):
    include_in_schema = False
    dependencies = VISIT

    @get("/")
    async def overview(self, visit: TheVisit, span: FromQuery[Span] = "15m") -> Response[str]:
        return page("overview.html", await show_overview(visit, span=span))

    @get("/try")
    async def chat(self, visit: TheVisit) -> Response[str]:
        return page("try.html", await show_try(visit))

    @get("/try/served")
    async def served(self, visit: TheVisit, user: FromQuery[str]) -> Response[str]:
        """Which path serves a client of one's own: asked by the page's script while its socket is open."""
        found = await visit.source.user(user)
        return page("partials/served.html", ServedPartial(path=found.path, why=why(found.reason)))

    @get("/preview")
    async def preview(self, visit: TheVisit, typed: FromQuery[str] = "") -> Response[str]:
        """What the percentage being typed would do; asked by the page's script for each change of the field."""
        number = _whole(typed)
        if number is None:
            text = EffectPartial(text="a whole percentage, 0 to 100", tone="warn" if typed else "plain")
        else:
            text = EffectPartial(text=effect((await visit.source.previews([number]))[number]), tone="plain")
        return page("partials/effect.html", text)

    @get("/stream/{name:str}")
    async def stream(self, visit: TheVisit, name: FromPath[Live]) -> ServerSentEvent:
        names, show = LIVE[name]
        kept: tuple[float, Mapping[str, str]] = (0.0, {})

        async def sections() -> Mapping[str, str]:
            nonlocal kept
            if name != "sessions" or monotonic() - kept[0] >= SLOW_S or not kept[1]:
                shown = await show(visit)
                kept = (monotonic(), {section: render_section(section, shown) for section in names})
            return kept[1]

        return ServerSentEvent(_events(visit, changed_sections(visit.source, sections)))

    @post("/act/{verb:str}")
    async def act(self, visit: TheVisit, verb: FromPath[Verb], data: Form) -> Response[Any]:
        """One click. With a script the changed sections come back, without one the page does."""
        command = _command(data)
        if isinstance(command, str):
            message = outcome_message(verb, None, command)
        else:
            outcome = await visit.source.act(
                verb, command.percentage, command.reason, command.revision, visit.person, full=command.full
            )
            message = outcome_message(verb, 100 if command.full else command.percentage, outcome.refusal)
        refused = message.tone == "bad"
        if not visit.scripted and not refused:
            return Redirect("/", status_code=303)
        status = 409 if refused else 200
        if not visit.scripted:
            return page("overview.html", await show_overview(visit, message, "15m"), status)
        fragments = _told(message)
        if not visit.live:
            # The stream says each thing once: an answer made before it that comes after it would stay for good.
            now = await show_overview(visit, message)
            fragments = [partial(name, render_section(name, now)) for name in OVERVIEW_SECTIONS] + fragments
        return Response("".join(fragments), media_type=MediaType.HTML, status_code=status)


class _Command(Struct, frozen=True):
    percentage: int | None
    reason: str
    revision: int | None
    full: bool


def _command(data: Mapping[str, str]) -> _Command | str:
    """The fields of the form, or what is wrong with them. What is typed counts only with the button beside it."""
    text = data.get("typed", "") if "custom" in data else data.get("percentage", "")
    number = _whole(text)
    if number is None and (text or "custom" in data):
        return "a percentage is a whole number, 0 to 100"
    revision = data.get("revision", "")
    return _Command(
        number, data.get("reason", "").strip(), int(revision) if _digits(revision) else None, "full" in data
    )


def _whole(text: str) -> int | None:
    return int(text) if _digits(text) and int(text) <= 100 else None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


def _told(message: ClickResult) -> list[str]:
    """The message in its place, and what an earlier click left in the other one gone."""
    text = render("partials/message.html", ActPartial(message=message))
    return [
        partial(f"message-{place}", text if place == message.place else "", "innerHTML")
        for place in ("rollback", "controls")
    ]


async def _events(visit: Visit, fragments: AsyncGenerator[str]) -> AsyncGenerator[ServerSentEventMessage]:
    """Unnamed messages are put into the page; a message named `alive` only says that the stream still runs.

    Ends when this person is no longer let in.
    """
    try:
        async for html in fragments:
            if not await visit.source.stays(visit.request):
                return
            yield ServerSentEventMessage(data=html) if html else ServerSentEventMessage(event="alive", data="")
    finally:
        await fragments.aclose()


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
        route_handlers=[Pages, DetailPages, SignIn],
        exception_handlers={**PROBLEMS, NotSignedIn: send_to_sign_in},
        after_request=secured,
    )
    return Router(path="/", route_handlers=[pages, static], include_in_schema=False)
