"""Who may open a socket or post a message: origin, rate and sign-in are checked before the upgrade, in this order."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import jwt

from app.errors import CrossfadeError
from app.gateway.addresses import client_address, parse_networks
from app.gateway.identity import Identity
from app.gateway.rate_limits import TokenBuckets
from app.settings import Settings, is_loopback

SUBPROTOCOL = "jwt."
USER_ID_CHARACTERS = 256
_ALGORITHMS_KEY = ["HS256", "HS384", "HS512"]
_ALGORITHMS_PUBLIC = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]


class AdmissionRefused(CrossfadeError):
    """The caller may not connect: an HTTP status, and words for the client."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class Caller(NamedTuple):
    """What a handshake or request tells about its sender; header names in lower case."""

    peer: str
    headers: Mapping[str, str]
    forwarded_for: Sequence[str]
    query: Mapping[str, str]
    subprotocols: Sequence[str] = ()


class Occupancy(Protocol):
    """How full the cell is."""

    def sockets_of(self, user_id: str) -> int: ...
    def __len__(self) -> int: ...


class Admission:
    """One for the cell; counts the connection attempts of each address."""

    def __init__(
        self,
        settings: Settings,
        occupancy: Occupancy,
        new_thread: Callable[[str], str],
        owns_thread: Callable[[str, str], bool],
    ) -> None:
        self._settings = settings
        self._occupancy = occupancy
        self._new_thread = new_thread
        self._owns_thread = owns_thread
        self._proxies = parse_networks(settings.trusted_proxies)
        self._origins = {origin.strip().rstrip("/") for origin in settings.origins.split(",") if origin.strip()}
        per_second = settings.rate_connections_per_second
        self._exempt_loopback = per_second is None
        self._attempts = TokenBuckets(50.0 if per_second is None else per_second, settings.rate_connections_burst)
        self._keys = jwt.PyJWKClient(settings.jwks_url) if settings.jwks_url else None

    async def admit(self, caller: Caller, *, socket: bool, resuming: bool = False) -> Identity:
        """Who this is. Raises `AdmissionRefused`: 403 origin, 429 rate or too many sockets, 401 sign-in, 503 full."""
        self._check_origin(caller)
        if not resuming:
            self._check_rate(caller)
        identity = await self._sign_in(caller)
        if len(self._occupancy) >= self._settings.max_sessions:
            raise AdmissionRefused(503, "the service is full; try again later")
        limit = self._settings.connections_per_user
        if socket and not resuming and self._occupancy.sockets_of(identity.user_id) >= limit:
            raise AdmissionRefused(429, f"at most {limit} connections per user")
        return identity

    def _check_origin(self, caller: Caller) -> None:
        origin = caller.headers.get("origin")
        if origin is None or origin in self._origins:
            return  # no browser, or an allowed origin
        if not self._origins and urlsplit(origin).netloc == caller.headers.get("host"):
            return
        raise AdmissionRefused(403, "this origin may not connect")

    def _check_rate(self, caller: Caller) -> None:
        address = client_address(caller.peer, caller.forwarded_for, self._proxies)
        if self._exempt_loopback and is_loopback(address):
            return
        now = monotonic()
        if not self._attempts.of(address, now).take(now):
            raise AdmissionRefused(429, "too many connection attempts from this address")

    async def _sign_in(self, caller: Caller) -> Identity:
        thread_id = caller.query.get("thread")
        expires_at: float | None = None
        if self._settings.client_auth == "none":
            user_id = caller.query.get("user", "")
            if not user_id:
                raise AdmissionRefused(401, "without sign-in (loopback only) the user is named in the query: ?user=ID")
        else:
            user_id, expires_at = await self._verify(_token_of(caller))
        if not 1 <= len(user_id) <= USER_ID_CHARACTERS or not user_id.isprintable():
            raise AdmissionRefused(401, f"a user id is 1..{USER_ID_CHARACTERS} printable characters")
        if thread_id is None:
            thread_id = self._new_thread(user_id)
        elif not self._owns_thread(user_id, thread_id):
            raise AdmissionRefused(403, "this thread is not yours")
        return Identity(user_id, thread_id, expires_at)

    async def _verify(self, token: str) -> tuple[str, float | None]:
        settings = self._settings
        try:
            key: str | jwt.PyJWK = settings.jwt_key
            public = "BEGIN " in settings.jwt_key
            if self._keys is not None:
                # It may fetch keys over the network: not in the event loop.
                key = await asyncio.to_thread(self._keys.get_signing_key_from_jwt, token)
                public = True
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS_PUBLIC if public else _ALGORITHMS_KEY,
                audience=settings.jwt_audience or None,
                issuer=settings.jwt_issuer or None,
                options={"require": ["sub"], "verify_aud": bool(settings.jwt_audience)},
            )
        except jwt.ExpiredSignatureError:
            raise AdmissionRefused(401, "the token has expired") from None
        except jwt.PyJWTError:
            raise AdmissionRefused(401, "the token is not valid") from None
        return str(claims["sub"]), float(claims["exp"]) if "exp" in claims else None


def _token_of(caller: Caller) -> str:
    """The JWT of a caller: the header, or for browsers the subprotocol `jwt.<base64url(JWT)>`."""
    scheme, _, token = caller.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for subprotocol in caller.subprotocols:
        if subprotocol.startswith(SUBPROTOCOL):
            encoded = subprotocol.removeprefix(SUBPROTOCOL)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("ascii")
            except (binascii.Error, ValueError):
                raise AdmissionRefused(401, "the subprotocol is jwt.<base64url(JWT)>") from None
    raise AdmissionRefused(401, "no token: use Authorization: Bearer, or the subprotocol jwt.<base64url(JWT)>")
