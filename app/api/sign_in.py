"""Signing in to the pages, by a link that works once or by a form that takes a token, and signing out.

The answer is a cookie and a redirect; the forms themselves are pages.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect

from app.api.access import is_https
from app.api.body_limits import SIGN_IN_BYTES
from app.api.problems import AnyRequest
from app.api.services import TheServices
from app.errors import StoreUnavailable
from app.store.port import Token
from dashboards.base.security import secured
from dashboards.sign_in import own_address, sign_in_page
from dashboards.sign_in_link import sign_in_link_page
from rollout import formats

UNKNOWN = "this link is not valid: a part of it is missing, or it is long over; sign in with a token"
USED = (
    "this link was used already, at {}: it signs in once. If that was not you, `crossfade token --list`, where the "
    "service runs, names the browsers that are signed in, and `--revoke` ends one. You can sign in with a token"
)
OLD = "this link is too old: it was good until {}; sign in with a token"
WRONG = "this token is not valid: it is mistyped, was revoked, or has expired"
NOT_NOW = "the store does not answer, so this link cannot be checked now; it stays valid, try it again"
LinkCode = Annotated[str, QueryParameter(max_length=200)]


@get("/sign-in/once", include_in_schema=False)
async def show_link(request: AnyRequest, services: TheServices, code: LinkCode = "") -> Response[Any]:
    """Show what a sign-in link would do. Nothing that only opens links uses one up."""
    try:
        link = await services.access.find_link(code)
    except StoreUnavailable:
        return _unreferred(sign_in_page(request, NOT_NOW, status=503))
    if link is not None and services.access.still_good(link):
        return _unreferred(sign_in_link_page(request, code, f"{link.name} ({link.role})"))
    return _unreferred(sign_in_page(request, _why_not(link)))


@post("/sign-in/once", include_in_schema=False, request_max_body_size=SIGN_IN_BYTES)
async def use_link(
    request: AnyRequest,
    services: TheServices,
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Sign in by a link, and use it up."""
    code = data.get("code", "")
    try:
        cookie = await services.access.sign_in_with_code(code, secure=is_https(request))
        if cookie is None:
            return sign_in_page(request, _why_not(await services.access.find_link(code)))
    except StoreUnavailable:
        return sign_in_page(request, NOT_NOW, status=503)
    return _welcome(cookie, "/")


def _why_not(link: Token | None) -> str:
    """Why this link signs nobody in."""
    if link is None:
        return UNKNOWN
    if link.revoked_at is not None:
        return USED.format(formats.timestamp(link.revoked_at))
    return OLD.format(formats.timestamp(link.expires_at or 0.0))


def _unreferred(response: Response[Any]) -> Response[Any]:
    """Keep the address with the code in it out of every `Referer`, also of our own; `Origin` is still sent."""
    response.headers["Referrer-Policy"] = "strict-origin"
    return response


@post("/sign-in/token", include_in_schema=False, request_max_body_size=SIGN_IN_BYTES)
async def sign_in(
    request: AnyRequest,
    services: TheServices,
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    cookie = await services.access.sign_in_with_token(data.get("token", "").strip(), secure=is_https(request))
    back = data.get("next", "/")
    return sign_in_page(request, WRONG, back=back) if cookie is None else _welcome(cookie, own_address(back))


@post("/sign-out", include_in_schema=False, request_max_body_size=SIGN_IN_BYTES)
async def sign_out(request: AnyRequest, services: TheServices) -> Response[Any]:
    with suppress(StoreUnavailable):  # the browser drops its cookie all the same
        await services.access.sign_out(request)
    response = Redirect("/sign-in?out=1", status_code=303)
    response.delete_cookie(services.access.cookies.session, services.access.cookies.path)
    return secured(response)


def _welcome(cookie: Cookie, back: str) -> Response[Any]:
    response = Redirect(back, status_code=303)
    response.set_cookie(cookie)
    return secured(response)
