"""Protection against cross-site requests: Litestar's, with four rules of our own.

It covers every request that a browser's cookie could authorise. A foreign page cannot send a bearer token, so requests
with one are exempt.
"""

from __future__ import annotations

from dataclasses import replace

from litestar.config.csrf import CSRFConfig
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import PermissionDeniedException
from litestar.middleware import DefineMiddleware
from litestar.middleware.csrf import CSRFMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.api.access import Access, Connection, cookies_of, derived_key, is_https
from app.api.services import provide_services
from app.gateway.forwarding import same_origin
from dashboards.base.visit import NotSignedIn

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
SIGN_IN = frozenset({"/sign-in/once", "/sign-in/token", "/sign-out"})
"""Forms of those who are not signed in."""
HEADER = "x-csrf-token"
FOREIGN_ORIGIN = "this was sent by a page of another origin; use the pages of this service, or a bearer token"


def csrf_middleware(secret: str, root_path: str = "") -> DefineMiddleware:
    """The entry for the application's `middleware`; all cells have the same `secret`."""
    cookies = cookies_of(secret, root_path)
    config = CSRFConfig(
        secret=derived_key(secret, "csrf").hex(),
        cookie_name=cookies.csrf,
        cookie_path=cookies.path,
        header_name=HEADER,
        cookie_httponly=True,
        cookie_samesite="lax",
    )
    return DefineMiddleware(CookieCsrf, config=config)


class CookieCsrf(CSRFMiddleware):
    """Requires a CSRF token wherever a cookie, ours or a proxy's, could have signed somebody in."""

    def __init__(self, app: ASGIApp, config: CSRFConfig) -> None:
        super().__init__(app, config)
        self._secure = CSRFMiddleware(app, replace(config, cookie_secure=True))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        connection: Connection = ASGIConnection(scope)
        bearer = connection.headers.get("authorization", "").lower().startswith("bearer ")
        # A user whom a proxy names has no cookie of ours, but the browser sends the proxy's cookie all the same.
        access = provide_services(connection.app.state).access
        vouched = access.vouched(connection)
        anonymous = (
            scope["path"].startswith("/api/") and access.cookies.session not in connection.cookies and not vouched
        )
        if bearer or anonymous:
            await self.app(scope, receive, send)
            return
        if not await _may_send_form(connection, access):
            if not scope["path"].startswith("/api/"):
                raise NotSignedIn
            await self.app(scope, receive, send)  # it refuses whoever is not signed in, without reading a body
            return
        if scope["method"] not in self.config.safe_methods and sent_by_foreign_page(connection, access):
            raise PermissionDeniedException(detail=FOREIGN_ORIGIN)
        token = connection.cookies.get(self.config.cookie_name)
        if token is not None and self._decode_csrf_token(token) is None:
            # Signed with another secret: without it the browser gets a new one, otherwise it would be refused for ever.
            # Litestar parses cookies once and keeps them in the scope, so the checks below see this too.
            del connection.cookies[self.config.cookie_name]
        if is_https(connection):
            await self._secure(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def _may_send_form(connection: Connection, access: Access) -> bool:
    """Whether a form may be read for its token: of those who are not signed in, only the forms with which they do."""
    scope = connection.scope
    if scope["type"] != ScopeType.HTTP or scope["method"] in SAFE or scope["path"] in SIGN_IN:
        return True
    return await access.visitor(connection) is not None


def sent_by_foreign_page(connection: Connection, access: Access) -> bool:
    """Whether a page of another origin sent this, by headers that only the browser itself can set.

    The rules are those of Go's `http.CrossOriginProtection`: `Sec-Fetch-Site` if it is there, because a proxy that
    renames hosts does not matter to it, else `Origin` compared with the host, as for `/ws`. No current browser sends
    neither.
    """
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = connection.headers.get("origin")
    return origin is not None and not same_origin(origin, access.reached(connection))
