"""What the type of a setting cannot say of its value: characters, numbers without end, addresses, origins, names.

Each check raises `SettingError` with the variable, the value and what is allowed. Nothing here looks at the world.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable

from app.errors import SettingError
from app.origins import HIGHEST_PORT, parse_host, parse_names, parse_origins
from app.settings import SECRETS, Settings, shown_value, variable_of

SECRET_BYTES = 16
"""Least length of a secret; one that is made has 64."""
NUMBER_MOST = 1e12
"""Above it no number makes sense: as seconds thirty thousand years, as bytes more than any machine has."""
SHOWN_CHARACTERS = 200
"""Of a wrong value."""
SEVERAL_LINES = frozenset({"jwt_key", "faults"})
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)
_FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
BUILTIN = "builtin"


def check_values(settings: Settings) -> None:
    """Check every value on its own. Raises `SettingError`."""
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, str):
            _check_text(name, value)
        elif isinstance(value, int | float):
            _check_number(name, value)
    for name, check in _CHECKS.items():
        value = getattr(settings, name)
        if value:
            check(name, value)


def refusal(name: str, value: object, why: str) -> SettingError:
    """The one line about a wrong value, which is shown as far as it is no secret."""
    return SettingError(f"{variable_of(name)}={quoted_value(name, value)}: {why}")


def quoted_value(name: str, value: object) -> str:
    """A wrong value as the line about it shows it: no secret, no password in an address, and not without end."""
    if name in SECRETS:
        return "'…'"
    text = repr(shown_value(name, value) if value and isinstance(value, str) else value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refusal(name, text, "it is not UTF-8; allowed: text in UTF-8") from None
    for character in text:
        if not character.isprintable() and not (name in SEVERAL_LINES and character in "\r\n\t"):
            raise refusal(name, text, f"it contains {character!r}; allowed: printable characters")


def _check_number(name: str, number: float) -> None:
    if not math.isfinite(number) or number > NUMBER_MOST:
        raise refusal(name, number, f"too large; allowed: a number up to {NUMBER_MOST:.0f}")


def _check_bind(name: str, bind: str) -> None:
    host, _, port = bind.rpartition(":")
    if not port.isascii() or int(port) > HIGHEST_PORT:
        raise refusal(name, bind, f"the port must be 0..{HIGHEST_PORT}")
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.ip_address(inner)
    except ValueError:
        if parse_host(host) is None or ":" in host:
            raise refusal(
                name, bind, f"{host!r} is no host; allowed: HOST:PORT with an address or a name, as in 127.0.0.1:8000"
            ) from None


def _check_origins(name: str, text: str) -> None:
    try:
        parse_origins(text)
    except ValueError as error:
        raise refusal(
            name, str(error), "not an origin; allowed: scheme, host and perhaps a port, as in https://app.example:8443"
        ) from None


def _check_hosts(name: str, text: str) -> None:
    try:
        parse_names(text)
    except ValueError as error:
        raise refusal(
            name,
            str(error),
            "not the name of a host; allowed: names or addresses without a port, as in app.example "
            "(international ones as xn--…)",
        ) from None


def _check_root_path(name: str, path: str) -> None:
    if not _ROOT_PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise refusal(
            name, path, "allowed: a slash and a name, perhaps several, without a slash at the end, as in /crossfade"
        )


def _check_proxies(name: str, text: str) -> None:
    for entry in filter(None, text.split(",")):
        try:
            ipaddress.ip_network(entry.strip(), strict=False)
        except ValueError:
            raise refusal(name, entry, "allowed: an address, or a network such as 10.0.0.0/8") from None


def _check_factory(name: str, spec: str) -> None:
    if spec != BUILTIN and not _FACTORY.fullmatch(spec):
        raise refusal(name, spec, "not a factory; allowed: builtin or package.module:factory")


def _check_secret(name: str, secret: str) -> None:
    if len(secret.strip().encode()) < SECRET_BYTES:
        raise refusal(name, secret, f"too short; at least {SECRET_BYTES} characters are needed")


_CHECKS: dict[str, Callable[[str, str], None]] = {
    "bind": _check_bind,
    "origins": _check_origins,
    "hosts": _check_hosts,
    "root_path": _check_root_path,
    "trusted_proxies": _check_proxies,
    "secret": _check_secret,
    "paths_v2": _check_factory,
    "paths_v3": _check_factory,
}
