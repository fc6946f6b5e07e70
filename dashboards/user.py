"""Where one user is and why, and the form that pins them to a path."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect
from msgspec import Struct, structs

from dashboards.base.page import ClickResult, Fact, LivePage, chrome, top
from dashboards.base.person import Person, why_not_role
from dashboards.base.visit import Form, TheVisit, Visit, answer
from dashboards.sessions import SessionsSection, path_of, sessions, show_sessions, user_address, why
from rollout.views import RolloutView, SessionsView, UserView


class UserSection(Struct, frozen=True):
    """Where one user is, and why."""

    id: str
    headline: str
    why: str
    facts: list[Fact]
    pin: str
    """The path this user is pinned to, or empty."""
    why_no_pin: str
    """Empty when this person may pin."""


class UserPage(LivePage, frozen=True, kw_only=True):
    template = "user.html"
    sections = ("top", "user", "sessions")
    message: ClickResult | None
    user: UserSection
    sessions: SessionsSection


def user_page(
    view: RolloutView, user: UserView, person: Person, csrf_token: str, message: ClickResult | None = None
) -> UserPage:
    many = len(user.sessions)
    found = SessionsView(items=user.sessions, matching=many, total=many, missing_cells=user.missing_cells)
    shown = sessions(found, view.now, filtered=False)
    if not user.sessions:
        shown = structs.replace(shown, summary="Not connected now; this is where a connection would go.", hint=False)
    return UserPage(
        chrome=chrome(view, user.user_id, "sessions", person, f"/sections/user?{urlencode({'id': user.user_id})}"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        user=UserSection(
            id=user.user_id,
            headline=f"is on {user.path}" if user.sessions else f"would be on {user.path}",
            why=why(user.reason),
            facts=[
                Fact("bucket", f"{user.bucket} of 100, by hash of the user id"),
                Fact("by the percentage", _arithmetic(user)),
                Fact("at other percentages", _at_others(user)),
                Fact("pinned to", user.pin or "nothing", "plain" if user.pin else "none"),
            ],
            pin=user.pin or "",
            why_no_pin=why_not_role(person, "pin"),
        ),
        sessions=shown,
    )


def _arithmetic(user: UserView) -> str:
    """`bucket 7 ≤ 10 %: v3`."""
    if user.bucket > user.percentage:
        return f"bucket {user.bucket} > {user.percentage} %: v2"
    within = f"bucket {user.bucket} ≤ {user.percentage} %"
    if user.reason == "flag" and user.path == "v2":
        return f"{within}, but the flag's other conditions keep this user on v2"
    return f"{within}: v3"


def _at_others(user: UserView) -> str:
    alone = f"v2 below {user.bucket} %, v3 from {user.bucket} % on"
    if user.pin is not None:
        return f"{user.pin} as long as it is pinned; without the pin {alone}"
    if user.reason == "environment":
        return f"no percentage changes this while the environment decides; without it {alone}"
    return alone


async def show_user(visit: Visit, user_id: str | None = None, message: ClickResult | None = None) -> UserPage:
    """Without an id, the address of an open page's sections names the user."""
    wanted = visit.id if user_id is None else user_id
    view, user = await visit.source.rollout(), await visit.source.user(wanted)
    return user_page(view, user, visit.person, visit.csrf, message)


# A user id may contain a slash, so it is all the rest of the address.
@get("/users/{user_id:path}")
async def get_user(visit: TheVisit, user_id: FromPath[str]) -> Response[str]:
    return answer(await show_user(visit, user_id.removeprefix("/")))


@post("/pins")
async def post_pin(visit: TheVisit, data: Form) -> Response[Any]:
    """Pin a user to a path, or with an empty path let the hash decide again."""
    user_id, path = data.get("user_id", ""), path_of(data.get("path", ""))
    if not user_id:
        nobody = ClickResult("controls", "bad", "Refused: name a user")
        return answer(await show_sessions(visit, nobody), 422)
    done = await visit.source.pin(user_id, path, data.get("reason", "").strip(), visit.person)
    if done.ok:
        return Redirect(user_address(user_id), status_code=303)
    message = ClickResult("controls", "bad", f"Refused: {done.refusal}")
    return answer(await show_user(visit, user_id, message), 409)


ROUTES = (get_user, post_pin)
