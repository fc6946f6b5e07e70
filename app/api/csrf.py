"""Protection of everything that a browser sends along with its cookie; Litestar's, with three rules of our own.

A bearer token cannot be sent by a foreign page, so it is exempt. It must not know who is asking.
"""

from __future__ import annotations

from dataclasses import replace

from litestar.config.csrf import CSRFConfig
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import DefineMiddleware
from litestar.middleware.csrf import CSRFMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.api.access import COOKIE, Connection, derived_key, is_https
from app.api.services import provide_services

CSRF_COOKIE = "crossfade_csrf"
HEADER = "x-csrf-token"


def csrf_middleware(secret: str) -> DefineMiddleware:
    """For the application's `middleware`; `secret` is shared by the cells."""
    config = CSRFConfig(
        secret=derived_key(secret, "csrf").hex(),
        cookie_name=CSRF_COOKIE,
        header_name=HEADER,
        cookie_httponly=True,
        cookie_samesite="lax",
    )
    return DefineMiddleware(CookieCsrf, config=config)


class CookieCsrf(CSRFMiddleware):
    """Asks for a token wherever a cookie, ours or a proxy's, could have let somebody in."""

    def __init__(self, app: ASGIApp, config: CSRFConfig) -> None:
        super().__init__(app, config)
        self._secure = CSRFMiddleware(app, replace(config, cookie_secure=True))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        connection: Connection = ASGIConnection(scope)
        bearer = connection.headers.get("authorization", "").lower().startswith("bearer ")
        # Whom a proxy vouches for needs no cookie of ours; the browser sent the proxy's along all the same.
        vouched = provide_services(connection.app.state).access.vouched(connection)
        anonymous = scope["path"].startswith("/api/") and COOKIE not in connection.cookies and not vouched
        if bearer or anonymous:
            await self.app(scope, receive, send)
            return
        token = connection.cookies.get(CSRF_COOKIE)
        if token is not None and self._decode_csrf_token(token) is None:
            # Of another secret: a new one is given, or the browser would be refused for ever. Litestar parses cookies
            # once and keeps them with the scope, so this is what the checks below see too.
            del connection.cookies[CSRF_COOKIE]
        if is_https(connection):
            await self._secure(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
