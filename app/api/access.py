"""Who is asking: bearer tokens, the pages' session cookie, a proxy's headers, sign-in links; and guards for roles.

Knows credentials only; must not know what any of them may do beyond its role's rank.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import jwt
import msgspec
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from app.control.store.port import Store, Token, TokenRole
from app.control.tokens import digest_of, make_code
from app.errors import StoreUnavailable
from app.gateway.limits import Networks, client_address, parse_networks, within
from app.settings import Settings

COOKIE: Final = "crossfade_session"
SESSION_S: Final = 12 * 3600
"""A signed-in browser is asked again after so long."""
FRESH_S: Final = 1.0
"""A token looked up so recently is not looked up again; a revocation takes so long at most."""
PATIENCE_S: Final = 0.25
"""A known token is not held up longer by a store that hangs: a rollback may be behind it."""
NAME_CHARACTERS: Final = 200
_AUDIENCE: Final = "crossfade pages"
_RANK: Final[dict[str, int]] = {"viewer": 0, "oncall": 1, "manager": 2}

Connection = ASGIConnection[Any, Any, Any, Any]


class Visitor(Struct, frozen=True):
    """Somebody who signed in, and from where: `page`, `api` or `cli` with the address, for the audit."""

    name: str
    role: TokenRole
    source: str = ""


class TrustedHeaders(Struct, frozen=True):
    """Headers in which a proxy says who signed in to it. `role` empty: everybody is a viewer."""

    user: str
    role: str
    proxies: Networks


def trusted_headers(settings: Settings) -> TrustedHeaders | None:
    """What the settings say of them; None: no proxy signs anybody in."""
    if not settings.trusted_user_header:
        return None
    proxies = parse_networks(settings.trusted_proxies)
    return TrustedHeaders(settings.trusted_user_header, settings.trusted_role_header, proxies)


class Access:
    """The credentials of one service. `secret` is shared by its cells; `clock` in Unix seconds."""

    def __init__(
        self,
        store: Store,
        secret: str,
        clock: Callable[[], float] = time.time,
        headers: TrustedHeaders | None = None,
    ) -> None:
        self._headers = headers
        self._store = store
        self._key = derived_key(secret, "page sessions")
        self._clock = clock
        self._known: dict[str, tuple[Token, float]] = {}

    async def open(self) -> None:
        """Learn the tokens there are, so that they open the door for a rollback when the store is down."""
        self._known = {token.digest: (token, 0.0) for token in await self._store.load_tokens()}

    async def visitor(self, connection: Connection) -> Visitor | None:
        """Who sends this request; None: nobody known. A bearer token counts alone, whatever cookie comes with it."""
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        address = connection.client.host if connection.client else "unknown"
        if scheme.lower() == "bearer":
            found = await self.find(secret.strip())
            kind = "cli" if connection.headers.get("user-agent", "").startswith("crossfade-cli") else "api"
            return found and Visitor(found.name, found.role, f"{kind} {address}")
        return self.signed_in(connection)

    def signed_in(self, connection: Connection) -> Visitor | None:
        """Who sits in front of a browser: whoever the proxy says, or whom the session cookie belongs to."""
        return self._by_cookie(connection) if not self.vouched(connection) else self._by_proxy(connection)

    def vouched(self, connection: Connection) -> bool:
        """Whether the direct peer is a trusted proxy that says who this is, or tries to."""
        return (
            self._headers is not None
            and connection.client is not None
            and within(connection.client.host, self._headers.proxies)
            and self._headers.user.lower() in connection.headers
        )

    def _by_proxy(self, connection: Connection) -> Visitor | None:
        """A header that came twice, or no known role, is nobody: the proxy let through what a client wrote."""
        if self._headers is None or connection.client is None:
            return None
        names = connection.headers.getall(self._headers.user, [])
        roles = connection.headers.getall(self._headers.role, []) if self._headers.role else ["viewer"]
        if len(names) != 1 or len(roles) != 1 or not names[0].strip():
            return None
        forwarded = connection.headers.getall("x-forwarded-for", [])
        address = client_address(connection.client.host, forwarded, self._headers.proxies)
        try:
            role = msgspec.convert(roles[0].strip().lower(), TokenRole)
        except msgspec.ValidationError:
            return None
        return Visitor(names[0].strip()[:NAME_CHARACTERS], role, f"page {address}")

    def _by_cookie(self, connection: Connection) -> Visitor | None:
        cookie = connection.cookies.get(COOKIE)
        if not cookie:
            return None
        try:
            claims = jwt.decode(
                cookie,
                self._key,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                options={"verify_exp": False, "verify_iat": False, "require": ["exp", "sub"]},
            )
            address = connection.client.host if connection.client else "unknown"
            visitor = msgspec.convert({**claims, "source": f"page {address}", "name": claims["sub"]}, Visitor)
        except (jwt.InvalidTokenError, msgspec.ValidationError):
            return None
        return visitor if float(claims["exp"]) > self._clock() else None

    async def find(self, secret: str) -> Visitor | None:
        """Who a bearer token belongs to; while the store is down, as it was last known."""
        token = await self._token(digest_of(secret))
        if token is None or token.kind != "bearer" or not token.valid(self._clock()):
            return None
        return Visitor(token.name, token.role)

    async def _token(self, digest: str) -> Token | None:
        token, asked_at = self._known.get(digest, (None, 0.0))
        if token is not None and self._clock() - asked_at < FRESH_S:
            return token
        try:
            async with asyncio.timeout(None if token is None else PATIENCE_S):
                token = await self._store.find_token(digest)
        except (StoreUnavailable, TimeoutError):
            return token
        if token is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = (token, self._clock())
        return token

    async def take_code(self, secret: str) -> Visitor | None:
        """Who a sign-in link makes of whoever opens it first. Raises StoreUnavailable."""
        now = self._clock()
        token = await self._store.find_token(digest_of(secret))
        if token is None or token.kind != "code" or not token.valid(now):
            return None
        return Visitor(token.name, token.role) if await self._store.revoke_token(token.digest, now) else None

    async def make_link(self, base_url: str, name: str = "operator") -> str:
        """A link that signs its first visitor in as a manager, once. Raises StoreUnavailable."""
        secret, token = make_code(name, self._clock())
        await self._store.save_token(token)
        return f"{base_url.rstrip('/')}/sign-in/once?code={secret}"

    def cookie(self, visitor: Visitor, *, secure: bool) -> Cookie:
        """The session of somebody who just signed in."""
        claims = {
            "sub": visitor.name,
            "role": visitor.role,
            "aud": _AUDIENCE,
            "exp": int(self._clock()) + SESSION_S,
        }
        value = jwt.encode(claims, self._key, algorithm="HS256")
        return Cookie(key=COOKIE, value=value, httponly=True, samesite="lax", secure=secure, max_age=SESSION_S)


def derived_key(secret: str, purpose: str) -> bytes:
    """A key for one purpose alone, so that what is signed for one is worth nothing for another."""
    return hmac.digest(secret.encode(), f"crossfade {purpose}".encode(), "sha256")


def is_https(connection: Connection) -> bool:
    """Whether the browser came over TLS. A header that lies only makes the cookie stricter."""
    return "https" in (connection.url.scheme, connection.headers.get("x-forwarded-proto", ""))


def requires(role: Literal["viewer", "oncall", "manager"]) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """A guard: somebody signed in with at least this role; `request.user` is the `Visitor` then."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        access: Access = connection.app.state.api.access
        visitor = await access.visitor(connection)
        if visitor is None:
            raise NotAuthorizedException(
                detail="sign in: send `Authorization: Bearer TOKEN`, or open the pages and sign in there",
                headers={"WWW-Authenticate": 'Bearer realm="crossfade"'},
            )
        if _RANK[visitor.role] < _RANK[role]:
            raise PermissionDeniedException(detail=f"{visitor.name} is {visitor.role}; this needs the role {role}")
        connection.scope["user"] = visitor

    return guard
