"""Every setting of the service, with type, default, limits and meaning; `app.settings_reader` reads them.

A test holds the README's table to `describe`.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

PREFIX = "CROSSFADE_"
FLAG = "USE_WEBSOCKET_SUPERVISOR_V3"

Positive = Annotated[float, Meta(gt=0)]
HEADER_NAME = r"^([A-Za-z0-9-]+)?$"
SECRETS: frozenset[str] = frozenset({"secret", "jwt_key", "unleash_token", "unleash_admin_token", "notify"})
"""Settings whose values are never shown; the addresses of notifications contain keys too."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings; a field `rate_messages_burst` is the variable `CROSSFADE_RATE_MESSAGES_BURST`."""

    bind: Annotated[str, Meta(pattern=r"^.+:\d{1,5}$", description="address and port to listen on")] = "127.0.0.1:8000"
    data: Annotated[str, Meta(min_length=1, description="folder of the record, the lock and the secret")] = "./data"
    store: Annotated[
        str, Meta(pattern=r"^(sqlite$|postgresql://.+)", description="`sqlite` (in `_DATA`) or a `postgresql://` URL")
    ] = "sqlite"

    unleash_url: Annotated[str, Meta(description="reserved: URL of an Unleash server's API; unset: embedded")] = ""
    unleash_token: Annotated[str, Meta(description="reserved: client token for that server")] = ""
    unleash_admin_token: Annotated[str, Meta(description="reserved: admin token, to write the percentage with")] = ""
    unleash_environment: Annotated[str, Meta(description="reserved: environment in Unleash")] = ""
    unleash_project: Annotated[str, Meta(description="reserved: project in Unleash")] = ""
    flag: Annotated[
        str, Meta(min_length=1, description="name of the flag, and its groupId unless the flag names another")
    ] = FLAG
    environment: Annotated[
        str, Meta(description="a name shown at the top of every page, such as staging or production")
    ] = ""

    client_auth: Annotated[
        Literal["none", "jwt"], Meta(description="how WebSocket clients sign in; `none` only on loopback")
    ] = "none"
    jwt_key: Annotated[
        str,
        Meta(description="HMAC secret, or PEM of a public key (newlines may be `\\n`), that checks clients' tokens"),
    ] = ""
    jwks_url: Annotated[
        str, Meta(description="http(s) URL where an issuer publishes its keys, instead of `_JWT_KEY`")
    ] = ""
    jwt_issuer: Annotated[str, Meta(description="required `iss`; empty: not checked")] = ""
    jwt_audience: Annotated[str, Meta(description="required `aud`; empty: not checked")] = ""
    origins: Annotated[
        str,
        Meta(
            description="origins that may open `/ws` from a browser, such as `https://app.example`, comma-separated; "
            "empty: the same host only"
        ),
    ] = ""
    hosts: Annotated[
        str,
        Meta(
            description="names under which the service may be called, without ports, comma-separated; loopback names "
            "always; empty: with `_CLIENT_AUTH=none` those only, else any"
        ),
    ] = ""
    root_path: Annotated[
        str,
        Meta(
            description="path under which a proxy shows the service, such as `/crossfade`, which it may remove or "
            "pass on; empty: none"
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Meta(
            description="addresses or networks whose `X-Forwarded-For`, `-Host` and `-Proto`, or else `Forwarded`, are "
            "believed, comma-separated"
        ),
    ] = ""
    trusted_user_header: Annotated[
        str,
        Meta(
            pattern=HEADER_NAME,
            description="header in which those proxies, and nobody else, name the user who is signed in; they must "
            "remove it from what a client sends; unset: off",
        ),
    ] = ""
    trusted_role_header: Annotated[
        str,
        Meta(
            pattern=HEADER_NAME,
            description="header with that user's role: `viewer`, `oncall`, `manager`; unset: everybody is a viewer",
        ),
    ] = ""
    secret: Annotated[
        str,
        Meta(description="key of thread ids, resume tokens and sessions, the same in all cells; empty: made and kept"),
    ] = ""

    paths_v2: Annotated[str, Meta(min_length=1, description="`builtin` or `package.module:factory`")] = "builtin"
    paths_v3: Annotated[str, Meta(min_length=1, description="`builtin` or `package.module:factory`")] = "builtin"
    paths_v2_python: Annotated[
        str, Meta(description="Python of v2's virtual environment; empty: the service's own")
    ] = ""
    paths_v3_python: Annotated[
        str, Meta(description="Python of v3's virtual environment; empty: the service's own")
    ] = ""
    agent: Annotated[str, Meta(min_length=1, description="agent for messages that name none: `echo`, `outline`")] = (
        "echo"
    )
    faults: Annotated[
        str, Meta(description='drills only, JSON by path: `{"v3": {"error_rate": 0.1}}`; keys: see "Faults"')
    ] = ""

    rate_messages_per_minute: Annotated[float, Meta(gt=0, description="messages a user may send per minute")] = 30
    rate_messages_burst: Annotated[int, Meta(ge=1, description="messages a user may send at once")] = 10
    rate_connections_per_second: Annotated[
        Positive | None,
        Meta(description="connection attempts an address may make per second; unset: 50, and loopback is exempt"),
    ] = None
    rate_connections_burst: Annotated[
        int, Meta(ge=1, description="connection attempts an address may make at once")
    ] = 200
    connections_per_user: Annotated[int, Meta(ge=1, description="sockets of one user per cell")] = 3
    max_sessions: Annotated[int, Meta(ge=1, description="sockets per cell; more are refused with 503")] = 19_000
    request_s: Annotated[
        float, Meta(gt=0, description="seconds in which a request must be whole, from its first byte; then 408")
    ] = 10
    keep_alive_s: Annotated[float, Meta(gt=0, description="seconds that a connection is kept without a request")] = 75
    message_bytes: Annotated[int, Meta(ge=64, le=1 << 20, description="largest message of a client, in bytes")] = 8192
    queue_messages: Annotated[int, Meta(ge=1, description="messages that may wait in a session's queue")] = 100
    queue_bytes: Annotated[int, Meta(ge=64, description="bytes that may wait in a session's queue")] = 65_536
    send_buffer_bytes: Annotated[
        int, Meta(ge=1024, description="bytes waiting for a slow reader at which its socket is closed with 1013")
    ] = 1_048_576
    heartbeat_s: Annotated[
        float, Meta(gt=0, description="seconds between WebSocket pings, and until a missing pong closes the socket")
    ] = 25
    idle_s: Annotated[
        float, Meta(gt=0, description="seconds without a message after which a socket is closed with 1001")
    ] = 300
    message_timeout_s: Annotated[
        float, Meta(gt=0, description="seconds after which a message ends with `error timeout`")
    ] = 300
    stop_s: Annotated[float, Meta(gt=0, description="seconds after which `stop_agent` ends a message by force")] = 2

    drain_s: Annotated[float, Meta(ge=0, description="seconds that a rollback gives running messages to finish")] = 2
    hold_s: Annotated[float, Meta(gt=0, description="seconds that sessions of a dead v2 wait for its restart")] = 10
    resume_s: Annotated[
        float, Meta(gt=0, description="seconds that a resume token stays valid after its socket died")
    ] = 120
    shutdown_s: Annotated[
        float, Meta(ge=0, description="seconds over which a planned stop spreads its closes with 1012")
    ] = 10
    ramp_per_second: Annotated[
        int,
        Meta(ge=0, description="sessions that a ramp hands over per second; 0: all at once; a rollback is never paced"),
    ] = 0
    ping_s: Annotated[float, Meta(gt=0, description="seconds between heartbeats to a worker")] = 0.25
    hang_v2_s: Annotated[
        float,
        Meta(
            gt=0, description="seconds of silence after which v2's worker is ended; long, because legacy code may block"
        ),
    ] = 30
    hang_v3_s: Annotated[
        float, Meta(gt=0, description="seconds of silence, and 4 unanswered pings, after which v3's worker is ended")
    ] = 1
    unstarted_s: Annotated[
        float,
        Meta(gt=0, description="seconds in which a worker must start a waiting message, even if it answers pings"),
    ] = 5
    start_s: Annotated[float, Meta(gt=0, description="seconds within which a worker must be ready")] = 20
    crash_limit: Annotated[
        int, Meta(ge=1, description="deaths of v3's worker within `_CRASH_WINDOW_S` that make v3 unavailable")
    ] = 3
    crash_window_s: Annotated[float, Meta(gt=0, description="seconds that a death counts for `_CRASH_LIMIT`")] = 600
    worker_memory_bytes: Annotated[
        int, Meta(ge=0, description="resident bytes at which a worker is ended; 0: no limit")
    ] = 0
    worker_nice_v3: Annotated[int, Meta(ge=0, le=19, description="nice level of v3's worker")] = 0
    partition: Annotated[
        Literal["v2", "hold"],
        Meta(description="with several cells, after 10 s without the store: `v2` everyone on v2, `hold` as before"),
    ] = "v2"
    prometheus_url: Annotated[str, Meta(description="reserved: Prometheus for guardrails of your own")] = ""
    notify: Annotated[str, Meta(description="reserved: notification targets, apprise URLs, comma-separated")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="lowest level that is logged; single messages are logged at `debug` only"),
    ] = "info"

    forced: Annotated[
        bool | None,
        Meta(description="`false` puts everyone on v2, `true` everyone on v3 (a lock wins); unset: the flag decides"),
    ] = None

    @property
    def host(self) -> str:
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])


class Description(msgspec.Struct, frozen=True):
    """One row of the settings table: the variable, its default as text, and what it means."""

    variable: str
    default: str
    meaning: str


def variable_of(field: str) -> str:
    """Name of the environment variable that sets `field`."""
    return FLAG if field == "forced" else PREFIX + field.upper()


def describe() -> list[Description]:
    """All settings, in the order they are declared."""
    defaults = Settings()
    hints = get_type_hints(Settings, include_extras=True)
    rows = []
    for name in Settings.__struct_fields__:
        default = getattr(defaults, name)
        text = "unset" if default in (None, "") else str(default)
        rows.append(Description(variable_of(name), text, hints[name].__metadata__[-1].description))
    return rows


def shown_value(name: str, value: object) -> str:
    """A setting's value as people may see it: no secret, and no password or query within an address."""
    if value in (None, ""):
        return "unset"
    if name in SECRETS:
        return "set, not shown"
    text = str(value)
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "…"  # what is secret in it cannot be told from the rest
    host = parts.netloc.rpartition("@")[2]
    hidden = "…@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, hidden + host, parts.path, "…" if parts.query else "", ""))


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
