"""Refuses requests to a name under which the service is not to be called, before anything looks at them.

Otherwise a page of any site could have its own name resolved to loopback (DNS rebinding) and use a service without
sign-in as if it were its own.
"""

from __future__ import annotations

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from app.gateway.addresses import Networks, parse_networks
from app.gateway.forwarding import reached
from app.origins import is_address, parse_host, parse_names
from app.problem import MEDIA_TYPE, encode_problem, problem_of
from app.settings import Settings, is_loopback

WORDS = "the service is not to be called under this name; whoever runs it can allow the name with CROSSFADE_HOSTS"


class KnownHosts:
    """The names under which a service may be called; loopback names always."""

    def __init__(self, names: frozenset[str], *, any_address: bool) -> None:
        """`any_address`: IP addresses too, which no DNS server can answer for."""
        self._names = names
        self._any_address = any_address

    def knows(self, host: str) -> bool:
        """Whether a `Host` header names this service; its port does not matter."""
        parsed = parse_host(host)
        if parsed is None:
            return False
        name = parsed.name
        if is_loopback(name) or name.endswith(".localhost"):  # browsers resolve those themselves (RFC 6761)
            return True
        return name in self._names or (self._any_address and is_address(name))


def known_hosts(settings: Settings) -> KnownHosts | None:
    """What the settings allow; None: every name."""
    loopback = is_loopback(settings.host)
    if not settings.hosts and not (loopback and settings.client_auth == "none"):
        return None
    return KnownHosts(parse_names(settings.hosts), any_address=not loopback)


def refuse_unknown_hosts(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Wraps an application so that a request to an unknown name is answered with 421, a WebSocket's too."""
    known, trusted = known_hosts(settings), parse_networks(settings.trusted_proxies)
    if known is None:
        return app

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in (ScopeType.HTTP, ScopeType.WEBSOCKET) and not _called_rightly(scope, known, trusted):
            await _refuse(scope, send)
        else:
            await app(scope, receive, send)

    return refusing


def _called_rightly(scope: Scope, known: KnownHosts, trusted: Networks) -> bool:
    """By the header itself, which a page cannot forge, and by what a trusted proxy says besides."""

    def lines(name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in scope["headers"] if key.decode("latin-1").lower() == name]

    client = scope.get("client")
    hosts = [*lines("host"), reached(client[0] if client else "", lines, trusted).host]
    return all(known.knows(host) for host in hosts if host)


async def _refuse(scope: Scope, send: Send) -> None:
    kind = "http" if scope["type"] == ScopeType.HTTP else "websocket.http"
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    start = {"type": f"{kind}.response.start", "status": 421, "headers": headers}
    body = {"type": f"{kind}.response.body", "body": encode_problem(problem_of(421, WORDS)), "more_body": False}
    await send(start)  # type: ignore[arg-type]
    await send(body)  # type: ignore[arg-type]
