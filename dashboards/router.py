"""All pages, what they fetch and hear while they are open, and their static files, for the application to register.

The application has to put its `Source` into its state under `SOURCE`, to protect posts with Litestar's CSRF middleware,
to answer the post of the sign-in form, and to answer what pages raise (`dashboards.problem`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, TypeAlias

from litestar import MediaType, Response, Router, get
from litestar.datastructures import CacheControlHeader
from litestar.params import FromPath
from litestar.static_files import create_static_files_router

from dashboards import changes, errors, health, history, overview, plan, receipt, sessions, sign_in, try_page, user
from dashboards.base.page import LivePage
from dashboards.base.render import STATIC, digest_of, partial, render_section
from dashboards.base.security import secure
from dashboards.base.source import PageRequest
from dashboards.base.visit import SOURCE, VISIT, NotSignedIn, NotThere, TheVisit, Visit

__all__ = ["SOURCE", "make_router"]

SHOWN: Final = "Crossfade-Shown"
"""Header with the digests of the sections that a page has: an answer names them, the page's next request repeats it."""

NAME_CHARACTERS: Final = 100
"""Of a static file."""
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
"""The pages that change by themselves, by the name under which they fetch their sections."""


@get("/sections/{name:str}")
async def get_sections(visit: TheVisit, name: FromPath[Live]) -> Response[str]:
    """The sections of a page that are not as the page has them, as fragments for htmx."""
    page = await LIVE[name](visit)
    had = visit.request.headers.get(SHOWN, "").split()
    sections = {section: render_section(section, page) for section in page.sections}
    digests = {section: digest_of(section, html) for section, html in sections.items()}
    changed = [partial(section, html) for section, html in sections.items() if digests[section] not in had]
    return Response(
        "".join(changed), media_type=MediaType.HTML, headers={SHOWN: " ".join(digests.values())}, status_code=200
    )


async def check_name(request: PageRequest) -> None:
    """Raises NotThere for what cannot be a file's name, which an operating system answers with errors of many kinds."""
    name = request.scope["path"].rpartition("/")[2]
    if len(name) > NAME_CHARACTERS or not name.isascii() or not name.isprintable():
        raise NotThere("There is no page at this address.")


def make_router() -> Router:
    static = create_static_files_router(
        path="/static",
        directories=[STATIC],
        # The digest in the address changes with the file.
        cache_control=CacheControlHeader(max_age=31_536_000, public=True, immutable=True),
        opt={"exclude_from_auth": True, "exclude_from_csrf": True},
        before_request=check_name,
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
            *changes.ROUTES,
            get_sections,
        ],
        dependencies=VISIT,
        exception_handlers={NotSignedIn: sign_in.send_to_sign_in},
        after_request=secure,
    )
    return Router(path="/", route_handlers=[pages, static], include_in_schema=False)
