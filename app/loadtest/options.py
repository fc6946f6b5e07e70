"""The options of a load test, checked before any socket is opened."""

from __future__ import annotations

import resource
from urllib.parse import quote, urlsplit

from msgspec import Struct

from app.errors import CrossfadeError

SPARE_FILES = 64
SPREAD_ABOVE = 1000
SPREAD_ADDRESSES = 20
RATE_PER_SECOND = 0.45
"""Messages per client and second, below the service's default limit of 30 per minute."""


class LoadTestError(CrossfadeError):
    """The load test cannot be run as asked; the text says why."""


class LoadOptions(Struct, frozen=True, kw_only=True):
    """If `url` does not contain `{user}`, `user=` is added to its query. Rates are per client and second."""

    url: str = "ws://127.0.0.1:8000/ws"
    clients: int = 100
    seconds: float = 30.0
    rate: float = RATE_PER_SECOND
    """0: each client sends again as soon as one of its `inflight` messages is finished."""
    inflight: int = 1
    users: str = "load-"
    agent: str = ""
    content: str = "hello"
    jwt_key: str = ""
    """HMAC key: each client signs in with a token of its own instead of `?user=`."""
    connecting: int = 100
    """Most handshakes at the same time."""
    settle_s: float = 30.0
    """Seconds that the last messages may take after the sending is over."""

    def user(self, index: int) -> str:
        return f"{self.users}{index:05d}"

    def url_of(self, user: str) -> str:
        if "{user}" in self.url:
            return self.url.replace("{user}", quote(user, safe=""))
        if self.jwt_key:
            return self.url
        joint = "&" if urlsplit(self.url).query else "?"
        return f"{self.url}{joint}user={quote(user, safe='')}"

    def source_of(self, index: int) -> tuple[str, int] | None:
        """Local address for a client's socket; None: any.

        One pair of addresses has 28,232 ports, but on Linux loopback has many addresses.
        """
        host = urlsplit(self.url).hostname or ""
        if self.clients <= SPREAD_ABOVE or not host.startswith("127."):
            return None
        return (f"127.0.0.{2 + index % SPREAD_ADDRESSES}", 0)


def prepare(options: LoadOptions) -> None:
    """Check the options, and raise this process's limit of open files if needed. Raises `LoadTestError`."""
    try:
        parts = urlsplit(options.url.replace("{user}", "u"))
        _ = parts.port
    except ValueError as error:
        raise LoadTestError(f"--url {options.url!r}: {error}") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise LoadTestError(f"--url {options.url!r}: allowed: ws://HOST:PORT/ws or wss://HOST/ws")
    needed = options.clients + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise LoadTestError(f"{options.clients} clients need a `ulimit -n` of {needed}; this host allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
