"""The sign-in form, and the way back to the page that was asked for.

Checking tokens and setting cookies is up to the API's handlers, which answer a refusal with this form.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from litestar import MediaType, Response, get
from litestar.response import Redirect

from dashboards.base.page import Chrome, Page, title_of
from dashboards.base.person import Person
from dashboards.base.security import secured
from dashboards.base.source import PageRequest, Source
from dashboards.base.visit import SOURCE, answer, csrf_of

# A path of our own: no other host (`//host`, `/\\host`), nothing that could split a header.
_OWN = re.compile(r"/(?![/\\])[\x21-\x7e]*")
_FOR_SCRIPTS = ("/sections/", "/changes", "/preview", "/static/")
NEXT_CHARACTERS = 1000
"""Of a way back; encoded it has to fit into the sign-in form."""


class SignInPage(Page, frozen=True, kw_only=True):
    template = "sign_in.html"
    problem: str
    """Why somebody was refused; empty until then."""
    notice: str
    """What happened before, if anything is worth saying."""
    back: str
    """Address of the page that comes after signing in."""


def own_address(wanted: str) -> str:
    """Where to go after signing in: the address if it is one of this service, else the overview."""
    return wanted if len(wanted) <= NEXT_CHARACTERS and _OWN.fullmatch(wanted) else "/"


def sign_in_page(request: PageRequest, problem: str = "", *, back: str = "/", status: int = 401) -> Response[str]:
    """The sign-in form; with a `problem` the answer to a refusal, of this status."""
    source: Source = request.app.state[SOURCE]
    context = SignInPage(
        chrome=Chrome(title_of("Sign in"), "idle", "sign-in"),
        csrf_token=csrf_of(request),
        problem=problem or source.why_nobody(request),
        notice=_notice(source.person(request)) if "out" in request.query_params else "",
        back=own_address(back),
    )
    return secured(answer(context, status if problem else 200))


def _notice(still: Person | None) -> str:
    """Shown after signing out."""
    if still is None:
        return "You are signed out."
    return f"You are still signed in as {still.name} ({still.role}); if a proxy signs you in, sign out there."


@get("/sign-in")
async def get_sign_in(request: PageRequest) -> Response[Any]:
    source: Source = request.app.state[SOURCE]
    back = own_address(str(request.query_params.get("next", "/")))
    if source.person(request) is not None and "out" not in request.query_params:
        return Redirect(back, status_code=303)
    return sign_in_page(request, back=back)


def send_to_sign_in(request: PageRequest, _: Exception) -> Response[Any]:
    """A page that somebody wanted to see comes after signing in; what was sent is not sent again."""
    if request.headers.get("hx-request") == "true":
        return secured(Response("signed out", media_type=MediaType.TEXT, status_code=401))
    # As it was sent: a decoded path would be another address.
    path, query = request.scope["raw_path"].decode("latin-1").partition("?")[0], request.url.query
    back = own_address(f"{path}?{query}" if query else path)
    asked_for = request.method == "GET" and back != "/" and not path.startswith(_FOR_SCRIPTS)
    return secured(Redirect(f"/sign-in?{urlencode({'next': back})}" if asked_for else "/sign-in", status_code=303))


ROUTES = (get_sign_in,)
