"""The way in: the form, the way back to the page that was asked for, and what it says to whom.

Checking tokens and setting cookies is the control API's.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from litestar import Controller, MediaType, Response, get
from litestar.response import Redirect

from dashboards.contexts import Chrome, SignInPage
from dashboards.ports import PageRequest, Person, Source
from dashboards.security import secured
from dashboards.visit import SOURCE, csrf_of, page

# A path of our own: no other host (`//host`, `/\\host`), nothing that could split a header.
_OWN = re.compile(r"/(?![/\\])[\x21-\x7e]*")
_FOR_SCRIPTS = ("/stream/", "/preview", "/static/")
NEXT_CHARACTERS = 2000


def own_address(wanted: str) -> str:
    """Where to go after signing in: the address if it is one of this service, else the overview."""
    return wanted if len(wanted) <= NEXT_CHARACTERS and _OWN.fullmatch(wanted) else "/"


def sign_in_page(request: PageRequest, problem: str = "", *, back: str = "/", status: int = 401) -> Response[str]:
    """The sign-in form; with a `problem` the answer to a refusal, of this status. The API's handlers use it too."""
    source: Source = request.app.state[SOURCE]
    context = SignInPage(
        chrome=Chrome("Sign in \N{EN DASH} Crossfade", "idle", "sign-in"),
        csrf_token=csrf_of(request),
        problem=problem or source.why_nobody(request),
        notice=_notice(source.person(request)) if "out" in request.query_params else "",
        back=own_address(back),
    )
    response = page("sign_in.html", context, status if problem else 200)
    secured(response)
    return response


def _notice(still: Person | None) -> str:
    """After signing out."""
    if still is None:
        return "You are signed out."
    return f"You are still signed in as {still.name} ({still.role}); if a proxy signs you in, sign out there."


class SignIn(Controller):
    """The form alone; its post is the control API's."""

    include_in_schema = False

    @get("/sign-in")
    async def form(self, request: PageRequest) -> Response[Any]:
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
