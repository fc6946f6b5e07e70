"""Signing in to the pages, by a link that works once or by a form that takes a token, and signing out.

The answer is a cookie and a redirect; the form itself is a page.
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
from dashboards.base.security import secured
from dashboards.sign_in import own_address, sign_in_page

USED = "this link was used already or is too old; sign in with a token"
WRONG = "this token is not valid: it is mistyped, was revoked, or has expired"
NOT_NOW = "the store does not answer, so this link cannot be checked now; it stays valid, try it again"


@get("/sign-in/once", include_in_schema=False)
async def sign_in_once(
    request: AnyRequest, services: TheServices, code: Annotated[str, QueryParameter(max_length=200)] = ""
) -> Response[Any]:
    try:
        cookie = await services.access.sign_in_with_code(code, secure=is_https(request))
    except StoreUnavailable:
        return sign_in_page(request, NOT_NOW, status=503)
    return sign_in_page(request, USED) if cookie is None else _welcome(cookie, "/")


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
