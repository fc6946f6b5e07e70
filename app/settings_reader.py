"""Reads the settings once at the start, from the environment and `crossfade.toml`, and checks them."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import get_type_hints

import msgspec

from app.errors import SettingError
from app.settings import FLAG, PREFIX, Settings, is_loopback, shown_value, variable_of

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
    path = file or Path(environ.get("CROSSFADE_CONFIG", "crossfade.toml"))
    raw: dict[str, object] = {}
    if path.exists():
        try:
            raw.update(tomllib.loads(path.read_text()))
        except (tomllib.TOMLDecodeError, OSError) as error:
            raise SettingError(f"{path}: {error}") from None
        for name in raw:
            if name not in Settings.__struct_fields__:
                raise SettingError(f"{path}: {name} is not a setting; allowed: {', '.join(Settings.__struct_fields__)}")
    known = {variable_of(name): name for name in Settings.__struct_fields__}
    # Not settings of the service: the commands' target and token, and the file to read.
    elsewhere = {"CROSSFADE_URL", "CROSSFADE_TOKEN", "CROSSFADE_CONFIG"}
    for variable, value in environ.items():
        if variable in known:
            if value != "" or variable != FLAG:
                raw[known[variable]] = value
        elif variable.startswith(PREFIX) and variable not in elsewhere and not variable.startswith("CROSSFADE_TEST_"):
            raise SettingError(f"{variable}: no such setting; {_nearest(variable)}")
    return _checked(Settings(**{name: _convert(name, value) for name, value in raw.items()}))  # type: ignore[arg-type]


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


def _checked(settings: Settings) -> Settings:
    """Check what depends on more than one field. Raises `SettingError`; returns the settings given."""
    if not 0 <= settings.port <= 65_535:
        raise SettingError(f"CROSSFADE_BIND={settings.bind!r}: the port must be 0..65535")
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
    if settings.secret and len(settings.secret) < 16:
        raise SettingError("CROSSFADE_SECRET='…': too short; at least 16 characters are needed")
    for entry in filter(None, settings.trusted_proxies.split(",")):
        try:
            ipaddress.ip_network(entry.strip(), strict=False)
        except ValueError:
            raise SettingError(
                f"CROSSFADE_TRUSTED_PROXIES={entry!r}: allowed: an address, or a network such as 10.0.0.0/8"
            ) from None
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
