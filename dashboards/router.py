"""All pages, their streams and their static files, to be registered by the application.

The application has to put its `Source` into its state under `SOURCE`, to protect posts with Litestar's CSRF middleware,
and to answer the post of the sign-in form.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from time import monotonic
from typing import Literal, TypeAlias

from litestar import Router, get
from litestar.datastructures import CacheControlHeader
from litestar.params import FromPath
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from litestar.static_files import create_static_files_router

from dashboards import errors, health, history, overview, plan, receipt, sessions, sign_in, try_page, user
from dashboards.base.page import LivePage
from dashboards.base.render import STATIC, render_section
from dashboards.base.security import secure
from dashboards.base.stream import changed_sections
from dashboards.base.visit import SOURCE, VISIT, NotSignedIn, TheVisit, Visit
from dashboards.problem import PROBLEMS

__all__ = ["SOURCE", "make_router"]

SLOW_S = 5.0
"""A list of thousands of sessions is rendered again at most this often for an open page."""

Live: TypeAlias = Literal["overview", "try", "sessions", "user", "errors", "history", "receipt", "plan", "health"]
LIVE: Mapping[Live, Callable[[Visit], Awaitable[LivePage]]] = {
    "overview": overview.show_overview,
    "try": try_page.show_try,
    "sessions": sessions.show_sessions,
    "user": user.show_user,
    "errors": errors.show_errors,
    "history": history.show_history,
    "receipt": receipt.show_receipt,
    "plan": plan.show_plan,
    "health": health.show_health,
}
"""The pages that change by themselves, by the name of their stream."""


@get("/stream/{name:str}")
async def get_stream(visit: TheVisit, name: FromPath[Live]) -> ServerSentEvent:
    kept: tuple[float, Mapping[str, str]] = (0.0, {})

    async def sections() -> Mapping[str, str]:
        nonlocal kept
        if name != "sessions" or monotonic() - kept[0] >= SLOW_S or not kept[1]:
            page = await LIVE[name](visit)
            kept = (monotonic(), {section: render_section(section, page) for section in page.sections})
        return kept[1]

    return ServerSentEvent(_events(visit, changed_sections(visit.source, sections)))


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
    static = create_static_files_router(
        path="/static",
        directories=[STATIC],
        # The digest in the address changes with the file.
        cache_control=CacheControlHeader(max_age=31_536_000, public=True, immutable=True),
        opt={"exclude_from_auth": True, "exclude_from_csrf": True},
    )
    pages = Router(
        path="/",
        route_handlers=[
            *overview.ROUTES,
            *try_page.ROUTES,
            *sessions.ROUTES,
            *user.ROUTES,
            *errors.ROUTES,
            *history.ROUTES,
            *receipt.ROUTES,
            *plan.ROUTES,
            *health.ROUTES,
            *sign_in.ROUTES,
            get_stream,
        ],
        dependencies=VISIT,
        exception_handlers={**PROBLEMS, NotSignedIn: sign_in.send_to_sign_in},
        after_request=secure,
    )
    return Router(path="/", route_handlers=[pages, static], include_in_schema=False)
