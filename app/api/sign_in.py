"""Signing in to the pages: a link that is good once, a form that takes a token, and signing out.

It answers with a cookie and a redirect; the form itself is a page.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect

from app.api.access import COOKIE, Visitor, is_https
from app.api.services import Services, TheServices
from dashboards.pages import sign_in_page
from dashboards.security import secured

AnyRequest = Request[Any, Any, State]
USED = "this link was used already, or is too old; sign in with a token"
WRONG = "this token is not good (any more)"


@get("/sign-in/once", include_in_schema=False)
async def sign_in_once(
    request: AnyRequest, services: TheServices, code: Annotated[str, QueryParameter(max_length=200)] = ""
) -> Response[Any]:
    visitor = await services.access.take_code(code)
    return sign_in_page(request, USED) if visitor is None else _welcome(request, services, visitor)


@post("/sign-in/token", include_in_schema=False)
async def sign_in(
    request: AnyRequest,
    services: TheServices,
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    visitor = await services.access.find(data.get("token", "").strip())
    return sign_in_page(request, WRONG) if visitor is None else _welcome(request, services, visitor)


@post("/sign-out", include_in_schema=False)
async def sign_out() -> Response[Any]:
    response = Redirect("/sign-in", status_code=303)
    response.delete_cookie(COOKIE)
    return secured(response)


def _welcome(request: AnyRequest, services: Services, visitor: Visitor) -> Response[Any]:
    response = Redirect("/", status_code=303)
    response.set_cookie(services.access.cookie(visitor, secure=is_https(request)))
    return secured(response)
