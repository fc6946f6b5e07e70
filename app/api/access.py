"""Finds out who sends a request: by bearer token, session cookie, a proxy's headers, or a sign-in link."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jwt
import msgspec
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from msgspec import Struct

from app.api.known_tokens import KnownTokens
from app.errors import StoreUnavailable
from app.gateway.addresses import Networks, network_of, parse_networks, within
from app.gateway.forwarding import SECURE, Lines, Reached, reached, says_secure
from app.settings import Settings
from app.store.port import Store, Token, TokenKind
from app.store.tokens import digest_of, make_code
from rollout.names import TOKEN_ROLES, TokenRole

SESSION_S: Final = 12 * 3600
"""Seconds after which a browser must sign in again."""
NAME_CHARACTERS: Final = 200
MARK_DIGITS: Final = 8
"""Of the digest in the names of cookies: enough to tell services apart, and useless for finding the secret."""
_AUDIENCE: Final = "crossfade pages"

Connection = ASGIConnection[Any, Any, Any, Any]


class Visitor(Struct, frozen=True):
    """Somebody who is signed in. `source` is for the audit: `page`, `api` or `cli`, and the address."""

    name: str
    role: TokenRole
    source: str = ""
    client: str = ""
    """Whom limits count this request for: an IPv4 address, or the network of an IPv6 one."""


class CookieSession(Struct, frozen=True):
    """The content of a session cookie. Name and role count only while the store cannot be asked."""

    sub: str
    role: TokenRole
    token: str
    """Digest of the token that the session came from, and with which it ends."""
    exp: int


class Cookies(NamedTuple):
    """The names and the path of a service's cookies.

    A browser sends the cookies of a host to all its ports. So the names contain a digest of the secret, by which two
    services on one host know their own.
    """

    session: str
    csrf: str
    path: str


def cookies_of(secret: str, root_path: str = "") -> Cookies:
    """All cells have the same `secret`; `root_path` is the path under which a browser sees the service."""
    mark = derived_key(secret, "cookie names").hex()[:MARK_DIGITS]
    return Cookies(f"crossfade_session_{mark}", f"crossfade_csrf_{mark}", root_path or "/")


class Proxies(NamedTuple):
    """The trusted proxies, and the headers in which they name the user and the role.

    `user` empty: proxies sign nobody in. `role` empty: everybody is a viewer.
    """

    networks: Networks = ()
    user: str = ""
    role: str = ""


NO_PROXIES: Final = Proxies()


def proxies_of(settings: Settings) -> Proxies:
    """The trusted proxies in the settings."""
    networks = parse_networks(settings.trusted_proxies)
    return Proxies(networks, settings.trusted_user_header, settings.trusted_role_header)


class Access:
    """Checks and makes the credentials of a service. All cells have the same `secret`; `clock` in Unix seconds."""

    def __init__(
        self,
        store: Store,
        secret: str,
        clock: Callable[[], float] = time.time,
        proxies: Proxies = NO_PROXIES,
        root_path: str = "",
    ) -> None:
        self.proxies = proxies
        self.cookies = cookies_of(secret, root_path)
        self._root_path = root_path
        self._store = store
        self._tokens = KnownTokens(store, clock)
        self._key = derived_key(secret, "page sessions")
        self._clock = clock

    async def open(self) -> None:
        """Load all tokens. Raises StoreUnavailable."""
        await self._tokens.open()

    async def visitor(self, connection: Connection) -> Visitor | None:
        """Who sends this request; None: not signed in. With a bearer token, cookies do not count."""
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            kind = "cli" if connection.headers.get("user-agent", "").startswith("crossfade-cli") else "api"
            visitor = await self.find(secret.strip())
        else:
            kind = "page"
            visitor = self._by_proxy(connection) if self.vouched(connection) else await self._by_cookie(connection)
        if visitor is None:
            return None
        address = self.address(connection)
        return msgspec.structs.replace(visitor, source=f"{kind} {address}", client=network_of(address))

    def address(self, connection: Connection) -> str:
        """The address that a request comes from; forwarded ones count only from trusted proxies."""
        return self.reached(connection).address

    def reached(self, connection: Connection) -> Reached:
        """How a request reached us; what proxies say counts only from trusted ones."""
        return reached(_peer(connection), _lines(connection), self.proxies.networks)

    def behind_proxy(self, connection: Connection) -> bool:
        """Whether the direct peer is a trusted proxy."""
        return within(_peer(connection), self.proxies.networks)

    def vouched(self, connection: Connection) -> bool:
        """Whether a trusted proxy names a user, valid or not."""
        header = self.proxies.user.lower()
        return bool(header) and header in connection.headers and self.behind_proxy(connection)

    def _by_proxy(self, connection: Connection) -> Visitor | None:
        """Nobody, if a header came twice or the role is unknown: then the proxy let a client's header through."""
        headers, proxies = connection.headers, self.proxies
        names = headers.getall(proxies.user, [])
        roles = headers.getall(proxies.role, []) if proxies.role else ["viewer"]
        if len(names) != 1 or len(roles) != 1 or not names[0].strip():
            return None
        try:
            role = msgspec.convert(roles[0].strip().lower(), TokenRole)
        except msgspec.ValidationError:
            return None
        return Visitor(names[0].strip()[:NAME_CHARACTERS], role)

    async def _by_cookie(self, connection: Connection) -> Visitor | None:
        session = self._session(connection)
        if session is None or session.exp <= self._clock():
            return None
        try:
            token = await self._tokens.find(session.token)
        except StoreUnavailable:
            # Another cell signed this one in and the store cannot be asked: the request may be a rollback.
            return Visitor(session.sub, session.role)
        return self._good(token, "bearer", "session")

    def _session(self, connection: Connection) -> CookieSession | None:
        """The session in the cookie; None: there is none, or we did not sign it."""
        try:
            claims = jwt.decode(
                connection.cookies.get(self.cookies.session, ""),
                self._key,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                options={"verify_exp": False},  # by our clock
            )
            return msgspec.convert(claims, CookieSession)
        except (jwt.InvalidTokenError, msgspec.ValidationError):
            return None

    def _good(self, token: Token | None, *kinds: TokenKind) -> Visitor | None:
        if token is None or token.kind not in kinds or not token.valid(self._clock()):
            return None
        if token.role not in TOKEN_ROLES:  # another version made it, and this one cannot say what it may do
            return None
        return Visitor(token.name, token.role)

    async def find(self, secret: str) -> Visitor | None:
        """The owner of a bearer token; None: it is not valid. While the store is down, its last known state counts."""
        try:
            return self._good(await self._tokens.find(digest_of(secret)), "bearer")
        except StoreUnavailable:
            return None

    async def sign_in_with_token(self, secret: str, *, secure: bool) -> Cookie | None:
        """A session that ends with this bearer token at the latest; None: the token is not valid."""
        visitor = await self.find(secret)
        return None if visitor is None else self._cookie(visitor, digest_of(secret), secure=secure)

    async def find_link(self, secret: str) -> Token | None:
        """The code of a sign-in link, used or too old as it may be; None: there is none. Raises StoreUnavailable."""
        code = await self._store.find_token(digest_of(secret))
        return code if code is not None and code.kind == "code" else None

    def still_good(self, token: Token) -> bool:
        """Whether it signs somebody in now."""
        return token.valid(self._clock())

    async def sign_in_with_code(self, secret: str, *, secure: bool) -> Cookie | None:
        """The session of whoever uses a sign-in link first; None: the link is not valid. Raises StoreUnavailable."""
        now = self._clock()
        code = await self.find_link(secret)
        visitor = self._good(code, "code")
        if code is None or visitor is None:
            return None
        # It gets a token, whose secret nobody has, so that it can be listed and revoked like any other. The token comes
        # first: a store that fails in between leaves the link as good as it was.
        digest = digest_of(secrets.token_urlsafe(32))
        await self._store.save_token(Token(digest, code.name, code.role, "session", now, now + SESSION_S))
        if not await self._store.revoke_token(code.digest, now):
            await self._store.revoke_token(digest, now)
            return None
        return self._cookie(visitor, digest, secure=secure)

    async def sign_out(self, connection: Connection) -> None:
        """End a session that a link began; that of a bearer token ends with its cookie. Raises StoreUnavailable."""
        session = self._session(connection)
        token = session and await self._tokens.find(session.token)
        if token and token.kind == "session":
            await self._store.revoke_token(token.digest, self._clock())

    async def make_link(self, base_url: str, name: str = "operator") -> str:
        """A link that works once and signs in as a manager. Raises StoreUnavailable."""
        secret, token = make_code(name, self._clock())
        await self._store.save_token(token)
        return f"{base_url.rstrip('/')}{self._root_path}/sign-in/once?code={secret}"

    def _cookie(self, visitor: Visitor, digest: str, *, secure: bool) -> Cookie:
        session = CookieSession(visitor.name, visitor.role, digest, int(self._clock()) + SESSION_S)
        value = jwt.encode({**msgspec.structs.asdict(session), "aud": _AUDIENCE}, self._key, algorithm="HS256")
        return Cookie(
            key=self.cookies.session,
            value=value,
            path=self.cookies.path,
            httponly=True,
            samesite="lax",
            secure=secure,
            max_age=SESSION_S,
        )


def derived_key(secret: str, purpose: str) -> bytes:
    """A key for one purpose, so that a signature for one purpose is not valid for another."""
    return hmac.digest(secret.encode(), f"crossfade {purpose}".encode(), "sha256")


def is_https(connection: Connection) -> bool:
    """Whether the browser uses TLS. A forged header only makes the cookie stricter."""
    return connection.scope["scheme"] in SECURE or says_secure(_lines(connection))


def _lines(connection: Connection) -> Lines:
    return lambda name: connection.headers.getall(name, [])


def _peer(connection: Connection) -> str:
    return connection.client.host if connection.client else "this host"
