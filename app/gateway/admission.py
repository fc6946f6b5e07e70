"""Who may open a socket or post a message: origin, rate and sign-in are checked before the upgrade, in this order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple, Protocol

from app.errors import CrossfadeError
from app.gateway.addresses import network_of, parse_networks
from app.gateway.forwarding import Reached, reached, same_origin
from app.gateway.identity import Identity
from app.gateway.issuer_keys import KeysUnavailable
from app.gateway.ports import ClientSocket
from app.gateway.rate_limits import TokenBuckets
from app.gateway.silent_sockets import SilentSockets
from app.gateway.subprotocols import token_in
from app.gateway.token_check import TokenCheck, TokenRefused, keys_of
from app.origins import parse_origin, parse_origins
from app.settings import Settings, is_loopback

USER_ID_CHARACTERS = 256


class AdmissionRefused(CrossfadeError):
    """The caller may not connect: an HTTP status, and words for the client.

    `retry_after_s`: seconds after which it may be let in. `kind` and `title` as `app.problem` has them, empty: the
    usual ones of the status.
    """

    def __init__(self, status: int, words: str, *, retry_after_s: int = 1, kind: str = "", title: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.retry_after_s = retry_after_s
        self.kind = kind
        self.title = title


class Caller(NamedTuple):
    """What a handshake or request tells about its sender; header names in lower case."""

    peer: str
    headers: HeaderLines
    query: Mapping[str, str]
    subprotocols: Sequence[str] = ()


class HeaderLines(Protocol):
    """Headers by their names, each of which may come several times."""

    def get(self, name: str, /, default: str) -> str: ...
    def getall(self, name: str, /, default: list[str]) -> list[str]: ...


class Occupancy(Protocol):
    """How full the cell is."""

    def sockets_of(self, user_id: str) -> Sequence[ClientSocket]:
        """Open WebSockets of one user."""
        ...

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
        self._origins = parse_origins(settings.origins)
        per_second = settings.rate_connections_per_second
        self._exempt_loopback = per_second is None
        self._attempts = TokenBuckets(50.0 if per_second is None else per_second, settings.rate_connections_burst)
        self._tokens: TokenCheck | None = None
        if settings.client_auth == "jwt":
            self._tokens = TokenCheck(keys_of(settings), issuer=settings.jwt_issuer, audience=settings.jwt_audience)
        self._silent = SilentSockets(occupancy.sockets_of, most_of_user=settings.connections_per_user)

    async def close(self) -> None:
        """End what is under way."""
        if self._tokens is not None:
            await self._tokens.close()

    async def admit(self, caller: Caller, *, socket: bool, resumes: Callable[[str], bool] | None = None) -> Identity:
        """Who this is. Raises `AdmissionRefused`: 403 origin, 429 rate or too many sockets, 401 sign-in, 503 full.

        `resumes`: whether this user takes up a session of this cell; then neither the rate nor the number of sockets
        counts, because the new socket replaces one.
        """
        here = reached(caller.peer, lambda name: caller.headers.getall(name, []), self._proxies)
        self._check_origin(caller, here)
        if resumes is None:
            self._check_rate(here)
        identity = await self._sign_in(caller)
        resuming = resumes is not None and resumes(identity.user_id)
        if resumes is not None and not resuming:
            self._check_rate(here)
        self._check_full()
        if socket and not resuming:
            await self._check_sockets(identity.user_id)
        return identity

    def _check_origin(self, caller: Caller, here: Reached) -> None:
        origin = caller.headers.get("origin", "")
        if not origin:
            return  # no browser
        if parse_origin(origin) in self._origins or (not self._origins and same_origin(origin, here)):
            return
        raise AdmissionRefused(403, "this origin may not connect")

    def forget_addresses(self) -> None:
        """Forget addresses that make so few attempts that it no longer matters; called every few seconds."""
        self._attempts.forget_full(monotonic())

    def _check_rate(self, here: Reached) -> None:
        if self._exempt_loopback and is_loopback(here.address):
            return
        now = monotonic()
        if not self._attempts.of(network_of(here.address), now).take(now):
            raise AdmissionRefused(429, "too many connection attempts from this address")

    async def _sign_in(self, caller: Caller) -> Identity:
        thread_id = caller.query.get("thread")
        expires_at: float | None = None
        if self._tokens is None:
            user_id = caller.query.get("user", "")
            if not user_id:
                raise AdmissionRefused(401, "without sign-in (loopback only) the user is named in the query: ?user=ID")
        else:
            user_id, expires_at = await self._checked(self._tokens, _token_of(caller))
        if not 1 <= len(user_id) <= USER_ID_CHARACTERS or not user_id.isprintable():
            raise AdmissionRefused(401, f"a user id is 1..{USER_ID_CHARACTERS} printable characters")
        if thread_id is None:
            thread_id = self._new_thread(user_id)
        elif not self._owns_thread(user_id, thread_id):
            raise AdmissionRefused(403, "this thread is not yours")
        return Identity(user_id, thread_id, expires_at)

    async def _checked(self, tokens: TokenCheck, token: str) -> tuple[str, float | None]:
        try:
            return await tokens.check(token)
        except TokenRefused as refused:
            raise AdmissionRefused(401, str(refused)) from None
        except KeysUnavailable as unavailable:
            raise AdmissionRefused(
                503,
                "the token cannot be checked now, because its issuer does not answer; try again later",
                retry_after_s=unavailable.retry_after_s,
                kind="sign_in_unavailable",
                title="Sign-in is not possible now",
            ) from None

    def _check_full(self) -> None:
        if len(self._occupancy) >= self._settings.max_sessions:
            raise AdmissionRefused(503, "the service is full; try again later")

    async def _check_sockets(self, user_id: str) -> None:
        """At the limit, sockets whose client is gone make room for the new one."""
        limit = self._settings.connections_per_user
        if len(self._occupancy.sockets_of(user_id)) < limit:
            return
        await self._silent.close_silent(user_id)
        if len(self._occupancy.sockets_of(user_id)) >= limit:
            raise AdmissionRefused(429, f"at most {limit} connections per user")
        self._check_full()


def _token_of(caller: Caller) -> str:
    """The JWT of a caller: the header, or for browsers the subprotocol `jwt.<base64url(JWT)>`."""
    scheme, _, token = caller.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    try:
        offered = token_in(caller.subprotocols)
    except ValueError:
        raise AdmissionRefused(401, "the subprotocol is jwt.<base64url(JWT)>") from None
    if offered is None:
        raise AdmissionRefused(401, "no token: use Authorization: Bearer, or the subprotocol jwt.<base64url(JWT)>")
    return offered
