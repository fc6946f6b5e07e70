"""A WebSocket client of one's own beside the rollback button, to see a rollback from a client's side."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromQuery

from dashboards.base.page import ClickResult, LivePage, chrome, top
from dashboards.base.person import Person
from dashboards.base.render import TemplateContext
from dashboards.base.visit import TheVisit, Visit, answer
from dashboards.sections.controls import why_not
from dashboards.sections.rollback import RollbackSection, rollback
from dashboards.sections.state import StateSection, state
from dashboards.sessions import why
from rollout.names import PathName
from rollout.views import RolloutView


class TryPage(LivePage, frozen=True, kw_only=True):
    template = "try.html"
    sections = ("top", "state", "rollback")
    message: ClickResult | None
    state: StateSection
    rollback: RollbackSection


class ServedPartial(TemplateContext, frozen=True, kw_only=True):
    """Where that client is, and why; the page is told this, the client never is."""

    template = "partials/served.html"
    path: PathName
    why: str


def try_page(view: RolloutView, person: Person, csrf_token: str) -> TryPage:
    now = state(view)
    return TryPage(
        chrome=chrome(view, now.title, "try", person, "/sections/try"),
        csrf_token=csrf_token,
        message=None,
        top=top(view),
        state=now,
        rollback=rollback(view, why_not(view, person, "rollback")),
    )


async def show_try(visit: Visit) -> TryPage:
    return try_page(await visit.source.rollout(), visit.person, visit.csrf)


@get("/try")
async def get_try(visit: TheVisit) -> Response[str]:
    return answer(await show_try(visit))


@get("/try/served")
async def get_served(visit: TheVisit, user: FromQuery[str]) -> Response[str]:
    """Which path serves the client; the page's script asks while its socket is open."""
    found = await visit.source.user(user)
    return answer(ServedPartial(path=found.path, why=why(found.reason)))


ROUTES = (get_try, get_served)
