"""Reads the settings once at the start, from the environment and `crossfade.toml`, and checks them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import get_type_hints

import msgspec

from app.errors import SettingError
from app.settings import FLAG, PREFIX, Settings, is_loopback, shown_value, variable_of
from app.settings_checks import check_values, refusal

CONFIG = "CROSSFADE_CONFIG"
DEFAULT_FILE = "crossfade.toml"
ELSEWHERE = frozenset({"CROSSFADE_URL", "CROSSFADE_TOKEN", CONFIG})
"""Not settings of the service: the commands' target and token, and the file to read."""
_OF_SERVICE = re.compile(
    r"CROSSFADE_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_PORT_OF_SERVICE = re.compile(r"CROSSFADE_([A-Z0-9_]+_)?PORT")
RESERVED = (
    "unleash_url",
    "unleash_token",
    "unleash_admin_token",
    "unleash_environment",
    "unleash_project",
    "prometheus_url",
    "notify",
)
"""Names kept for later features. Setting one stops the start, so that nobody waits for an effect."""


def load_settings(environ: Mapping[str, str] = os.environ, file: Path | None = None) -> Settings:
    """Read the settings: the environment, else `crossfade.toml` (or `file`), else the default.

    Raises `SettingError` with one line that names the variable, its value and what is allowed.
    """
    raw = _of_file(environ, file)
    known = {variable_of(name): name for name in Settings.__struct_fields__}
    for variable, value in environ.items():
        if variable in known:
            if value != "" or variable != FLAG:
                raw[known[variable]] = value
        elif variable.startswith(PREFIX) and not _belongs_elsewhere(variable, value):
            raise SettingError(f"{variable}: no such setting; {_nearest(variable)}")
    return _checked(Settings(**{name: _convert(name, value) for name, value in raw.items()}))  # type: ignore[arg-type]


def _of_file(environ: Mapping[str, str], file: Path | None) -> dict[str, object]:
    """What the file says, by field. Only the file of the default name may be missing."""
    named = environ.get(CONFIG) if file is None else None
    path = file or Path(DEFAULT_FILE if named is None else named)
    where = str(path) if named is None else f"{CONFIG}={named!r}"
    try:
        raw: dict[str, object] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}
        raise SettingError(f"{where}: there is no such file; allowed: a TOML file with settings") from None
    except OSError as error:
        raise SettingError(f"{where}: cannot be read: {error.strerror}; allowed: a TOML file with settings") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or a path that no file can have
        raise SettingError(f"{where}: {error}; allowed: a TOML file with settings") from None
    for name in raw:
        if name not in Settings.__struct_fields__:
            raise SettingError(f"{where}: {name!r} is not a setting; {_nearest(variable_of(name))}")
    return raw


def _belongs_elsewhere(variable: str, value: str) -> bool:
    """Whether it is no setting of the service: a command's, a test's, or what Kubernetes sets for a Service.

    A Service called `crossfade`, or `crossfade-…`. `…_PORT` is an address with a scheme there; anything else is a
    person's mistake. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    if variable in ELSEWHERE or variable.startswith(f"{PREFIX}TEST_"):
        return True
    return bool(_OF_SERVICE.fullmatch(variable) or (_PORT_OF_SERVICE.fullmatch(variable) and "://" in value))


def _convert(name: str, value: object) -> object:
    hint = get_type_hints(Settings, include_extras=True)[name]
    try:
        return msgspec.convert(value, hint, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        allowed = "false, true or unset" if name == "forced" else hint.__metadata__[-1].description
        raise refusal(name, value, f"{error}; allowed: {allowed}") from None


def _nearest(variable: str) -> str:
    """What was perhaps meant by an unknown variable; its value may be a secret and is not repeated."""
    nearest = get_close_matches(variable.removeprefix(PREFIX).lower(), Settings.__struct_fields__, n=1)
    return f"did you mean {variable_of(nearest[0])}?" if nearest else "the README has a table of all settings"


def _checked(settings: Settings) -> Settings:
    """Check what depends on more than one field. Raises `SettingError`; returns the settings given."""
    check_values(settings)
    if settings.client_auth == "none" and not is_loopback(settings.host):
        raise SettingError(
            f"CROSSFADE_CLIENT_AUTH='none': allowed only when CROSSFADE_BIND is on loopback, not {settings.bind!r}; "
            "set CROSSFADE_CLIENT_AUTH=jwt"
        )
    if settings.client_auth == "jwt" and not (settings.jwt_key or settings.jwks_url):
        raise SettingError("CROSSFADE_CLIENT_AUTH='jwt': needs CROSSFADE_JWT_KEY or CROSSFADE_JWKS_URL")
    _check_keys(settings)
    for name in RESERVED:
        if getattr(settings, name):
            raise SettingError(f"{variable_of(name)}: reserved for a later version; leave it unset")
    if settings.trusted_user_header and not settings.trusted_proxies.strip():
        raise SettingError(
            f"CROSSFADE_TRUSTED_USER_HEADER={settings.trusted_user_header!r}: needs CROSSFADE_TRUSTED_PROXIES, the "
            "proxies from which it is believed"
        )
    if settings.trusted_role_header and not settings.trusted_user_header:
        raise SettingError(
            f"CROSSFADE_TRUSTED_ROLE_HEADER={settings.trusted_role_header!r}: needs CROSSFADE_TRUSTED_USER_HEADER"
        )
    return settings


def _check_keys(settings: Settings) -> None:
    """Keys that would refuse every token stop the start."""
    if not (settings.jwt_key or settings.jwks_url):
        return
    # Not at the top: most commands need no cryptography.
    from app.verification_keys import ALLOWED, UnusableKeys, key_of_setting, why_not_address

    if settings.jwt_key:
        try:
            key_of_setting(settings.jwt_key)
        except UnusableKeys as error:
            raise SettingError(f"CROSSFADE_JWT_KEY='…': {error}; allowed: {ALLOWED}") from None
    if settings.jwks_url and (wrong := why_not_address(settings.jwks_url)):
        shown = "…" if "@" in settings.jwks_url else shown_value("jwks_url", settings.jwks_url)
        raise SettingError(f"CROSSFADE_JWKS_URL={shown!r}: {wrong}; allowed: an address such as https://HOST/PATH")
