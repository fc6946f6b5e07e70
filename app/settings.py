"""Every setting of the service, read once at start from environment and `crossfade.toml`, into one frozen value.

Knows names, types, defaults and limits; must not know who uses them. A test holds the README's table to `describe`.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from app.errors import SettingError

PREFIX = "CROSSFADE_"
FLAG = "USE_WEBSOCKET_SUPERVISOR_V3"

Positive = Annotated[float, Meta(gt=0)]
HEADER_NAME = r"^([A-Za-z0-9-]+)?$"
RESERVED = (
    "unleash_url",
    "unleash_token",
    "unleash_admin_token",
    "unleash_environment",
    "unleash_project",
    "prometheus_url",
    "notify",
)
"""Names kept for what is not there yet: set, they stop the start, so that nobody waits for an effect."""


SECRETS: frozenset[str] = frozenset({"secret", "jwt_key", "unleash_token", "unleash_admin_token", "notify"})
"""Settings of which nobody is shown more than that they are set; addresses of notifications hold keys too."""


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
    flag: Annotated[str, Meta(min_length=1, description="name of the flag; also its groupId unless the flag says")] = (
        FLAG
    )
    environment: Annotated[str, Meta(description="a name for the top line of the pages: staging, production")] = ""

    client_auth: Annotated[
        Literal["none", "jwt"], Meta(description="how WebSocket clients sign in; `none` only on loopback")
    ] = "none"
    jwt_key: Annotated[str, Meta(description="HMAC secret or PEM public key for clients' tokens")] = ""
    jwks_url: Annotated[str, Meta(description="or where the keys are published")] = ""
    jwt_issuer: Annotated[str, Meta(description="required `iss`; empty: not checked")] = ""
    jwt_audience: Annotated[str, Meta(description="required `aud`; empty: not checked")] = ""
    origins: Annotated[
        str, Meta(description="origins that may open `/ws` from a browser, comma-separated; empty: the same host only")
    ] = ""
    trusted_proxies: Annotated[
        str, Meta(description="addresses or networks whose `X-Forwarded-For` and `-Host` are believed, comma-separated")
    ] = ""
    trusted_user_header: Annotated[
        str,
        Meta(
            pattern=HEADER_NAME,
            description="header in which those proxies, and they alone, say who is signed in; they must drop what a "
            "client sends in it; unset: off",
        ),
    ] = ""
    trusted_role_header: Annotated[
        str,
        Meta(
            pattern=HEADER_NAME,
            description="and with which role: `viewer`, `oncall`, `manager`; unset: everybody is a viewer",
        ),
    ] = ""
    secret: Annotated[
        str, Meta(description="key of thread ids, resume tokens and sessions, shared by the cells; empty: made, kept")
    ] = ""

    paths_v2: Annotated[str, Meta(description="`builtin` or `package.module:factory`")] = "builtin"
    paths_v3: Annotated[str, Meta(description="`builtin` or `package.module:factory`")] = "builtin"
    paths_v2_python: Annotated[str, Meta(description="interpreter of v2's virtual environment; empty: this one")] = ""
    paths_v3_python: Annotated[str, Meta(description="interpreter of v3's virtual environment; empty: this one")] = ""
    agent: Annotated[str, Meta(min_length=1, description="agent of a message that names none: `echo`, `outline`")] = (
        "echo"
    )
    faults: Annotated[
        str, Meta(description='drills only, JSON by path: `{"v3": {"error_rate": 0.1}}`; keys: see "Faults"')
    ] = ""

    rate_messages_per_minute: Annotated[float, Meta(gt=0, description="messages a user may send a minute")] = 30
    rate_messages_burst: Annotated[int, Meta(ge=1, description="and at once")] = 10
    rate_connections_per_second: Annotated[
        Positive | None,
        Meta(description="connection attempts an address may make a second; unset: 50, loopback exempt"),
    ] = None
    rate_connections_burst: Annotated[int, Meta(ge=1, description="and at once")] = 200
    connections_per_user: Annotated[int, Meta(ge=1, description="sockets of one user in a cell")] = 3
    max_sessions: Annotated[int, Meta(ge=1, description="sockets in a cell; more are refused with 503")] = 19_000
    message_bytes: Annotated[int, Meta(ge=64, le=1 << 20, description="largest message of a client, bytes")] = 8192
    queue_messages: Annotated[int, Meta(ge=1, description="messages a session may have waiting")] = 100
    queue_bytes: Annotated[int, Meta(ge=64, description="and their bytes")] = 65_536
    send_buffer_bytes: Annotated[
        int, Meta(ge=1024, description="unsent bytes to a slow reader before it is closed with 1013")
    ] = 1_048_576
    heartbeat_s: Annotated[float, Meta(gt=0, description="WebSocket ping interval and pong time-out, seconds")] = 25
    idle_s: Annotated[float, Meta(gt=0, description="close 1001 after so many seconds without a message")] = 300
    message_timeout_s: Annotated[float, Meta(gt=0, description="a message ends with `error timeout` after this")] = 300
    stop_s: Annotated[float, Meta(gt=0, description="`stop_agent` ends a message by force after this")] = 2

    drain_s: Annotated[float, Meta(ge=0, description="a rollback lets running messages finish so long, seconds")] = 2
    hold_s: Annotated[float, Meta(gt=0, description="sessions of a dead v2 wait so long for its restart")] = 10
    resume_s: Annotated[float, Meta(gt=0, description="a resume token is good for so long after a socket died")] = 120
    shutdown_s: Annotated[float, Meta(ge=0, description="a planned stop spreads its 1012 closes over so long")] = 10
    ramp_per_second: Annotated[
        int, Meta(ge=0, description="sessions a ramp hands over a second; 0: all at once; rollbacks are never paced")
    ] = 0
    ping_s: Annotated[float, Meta(gt=0, description="heartbeat to a worker, every so many seconds")] = 0.25
    hang_v2_s: Annotated[float, Meta(gt=0, description="v2 may be silent so long, because legacy code may block")] = 30
    hang_v3_s: Annotated[float, Meta(gt=0, description="v3 may be silent so long; 4 unanswered pings as well")] = 1
    unstarted_s: Annotated[
        float, Meta(gt=0, description="a worker that answers pings but starts no message for so long is hung")
    ] = 5
    start_s: Annotated[float, Meta(gt=0, description="a worker must be ready within this, seconds")] = 20
    crash_limit: Annotated[
        int, Meta(ge=1, description="deaths of v3 in `_CRASH_WINDOW_S` that make it unavailable")
    ] = 3
    crash_window_s: Annotated[float, Meta(gt=0, description="see `_CRASH_LIMIT`")] = 600
    worker_memory_bytes: Annotated[
        int, Meta(ge=0, description="resident bytes at which a worker is ended; 0: no limit")
    ] = 0
    worker_nice_v3: Annotated[int, Meta(ge=0, le=19, description="nice level of v3's worker")] = 0
    partition: Annotated[
        Literal["v2", "hold"], Meta(description="what a cell of several serves after 10 s without the store")
    ] = "v2"
    prometheus_url: Annotated[str, Meta(description="reserved: Prometheus for guardrails of your own")] = ""
    notify: Annotated[str, Meta(description="reserved: notification targets, apprise URLs, comma-separated")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="nothing is logged per message above `debug`")
    ] = "info"

    forced: Annotated[
        bool | None,
        Meta(description=f"from `{FLAG}`: `false` everyone on v2, `true` everyone on v3 (a lock still wins), unset"),
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
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    hidden = "…@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, hidden + host, parts.path, "…" if parts.query else "", ""))


def load_settings(environ: Mapping[str, str] = os.environ, file: Path | None = None) -> Settings:
    """Read the settings: defaults, then `crossfade.toml` (or `file`), then the environment; the last one wins.

    Raises `SettingError` with one line that names the variable, its value and what is allowed.
    """
    path = file or Path(environ.get("CROSSFADE_CONFIG", "crossfade.toml"))
    raw: dict[str, object] = {}
    if path.exists():
        try:
            raw.update(tomllib.loads(path.read_text()))
        except (tomllib.TOMLDecodeError, OSError) as error:
            raise SettingError(f"{path}: {error}") from None
        for name in raw:
            if name not in Settings.__struct_fields__:
                raise SettingError(f"{path}: {name} is no setting; allowed: {', '.join(Settings.__struct_fields__)}")
    known = {variable_of(name): name for name in Settings.__struct_fields__}
    # For the commands and the tests, not for the service: where to speak to, as whom, and which file to read.
    elsewhere = {"CROSSFADE_URL", "CROSSFADE_TOKEN", "CROSSFADE_CONFIG"}
    for variable, value in environ.items():
        if variable in known:
            if value != "" or variable != FLAG:
                raw[known[variable]] = value
        elif variable.startswith(PREFIX) and variable not in elsewhere and not variable.startswith("CROSSFADE_TEST_"):
            raise SettingError(f"{variable}: no such setting; {_nearest(variable)}")
    return validate(Settings(**{name: _convert(name, value) for name, value in raw.items()}))  # type: ignore[arg-type]


def _convert(name: str, value: object) -> object:
    hint = get_type_hints(Settings, include_extras=True)[name]
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        allowed = "false, true or unset" if name == "forced" else hint.__metadata__[-1].description
        # A password in an address is not repeated: this line stands in a log.
        shown = shown_value(name, value) if value and isinstance(value, str) else value
        raise SettingError(f"{variable_of(name)}={shown!r}: {error}; allowed: {allowed}") from None


def _nearest(variable: str) -> str:
    """What was perhaps meant by an unknown variable; its value may be a secret and is not repeated."""
    nearest = get_close_matches(variable.removeprefix(PREFIX).lower(), Settings.__struct_fields__, n=1)
    return f"did you mean {variable_of(nearest[0])}?" if nearest else "the README has a table of all settings"


def validate(settings: Settings) -> Settings:
    """What one field alone cannot say. Raises `SettingError`; returns the settings given."""
    if not 0 <= settings.port <= 65_535:
        raise SettingError(f"CROSSFADE_BIND={settings.bind!r}: the port is 0..65535")
    if settings.client_auth == "none" and not is_loopback(settings.host):
        raise SettingError(
            f"CROSSFADE_CLIENT_AUTH='none': allowed only when CROSSFADE_BIND is on loopback, not {settings.bind!r}; "
            "set CROSSFADE_CLIENT_AUTH=jwt"
        )
    if settings.client_auth == "jwt" and not (settings.jwt_key or settings.jwks_url):
        raise SettingError("CROSSFADE_CLIENT_AUTH='jwt': needs CROSSFADE_JWT_KEY or CROSSFADE_JWKS_URL")
    for name in RESERVED:
        if getattr(settings, name):
            raise SettingError(f"{variable_of(name)}: reserved for a later version; only unset is allowed now")
    if settings.secret and len(settings.secret) < 16:
        raise SettingError("CROSSFADE_SECRET='…': at least 16 characters")
    for entry in filter(None, settings.trusted_proxies.split(",")):
        try:
            ipaddress.ip_network(entry.strip(), strict=False)
        except ValueError:
            raise SettingError(
                f"CROSSFADE_TRUSTED_PROXIES={entry!r}: an address or a network such as 10.0.0.0/8"
            ) from None
    if settings.trusted_user_header and not settings.trusted_proxies.strip():
        raise SettingError(
            f"CROSSFADE_TRUSTED_USER_HEADER={settings.trusted_user_header!r}: needs CROSSFADE_TRUSTED_PROXIES, the "
            "addresses it is believed from"
        )
    if settings.trusted_role_header and not settings.trusted_user_header:
        raise SettingError(
            f"CROSSFADE_TRUSTED_ROLE_HEADER={settings.trusted_role_header!r}: needs CROSSFADE_TRUSTED_USER_HEADER"
        )
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
