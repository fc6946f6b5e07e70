"""Origins and hosts as values that can be compared: without capitals, default ports and other spellings of the same.

It knows no settings and no requests; what is compared with what is up to those who ask.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
HIGHEST_PORT: Final = 65_535
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)/?", re.IGNORECASE | re.ASCII)
_HOST: Final = re.compile(
    r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)(?::([0-9]{1,5})?)?", re.IGNORECASE | re.ASCII
)


class Host(NamedTuple):
    """A name or an address, in lower case and its shortest form, without brackets. `port` None: none was written."""

    name: str
    port: int | None


class Origin(NamedTuple):
    """What a browser calls an origin (RFC 6454). `port` None: none was written, and the scheme has no default."""

    scheme: str
    name: str
    port: int | None


def parse_host(text: str) -> Host | None:
    """A `Host` header, or a host with a port elsewhere; None: it is not one."""
    match = _HOST.fullmatch(text.strip())
    if match is None:
        return None
    port = int(match[2]) if match[2] else None
    if port is not None and port > HIGHEST_PORT:
        return None
    name = match[1].lower()
    if not name.startswith("["):
        return Host(name.removesuffix("."), port)
    try:
        return Host(str(ipaddress.IPv6Address(name[1:-1])), port)
    except ValueError:
        return None


def parse_origin(text: str) -> Origin | None:
    """An `Origin` header, a slash at its end or not; None: it is not one, or it is `null`."""
    match = _ORIGIN.fullmatch(text.strip())
    host = match and parse_host(match[2])
    if not match or not host:
        return None
    scheme = match[1].lower()
    return Origin(scheme, host.name, host.port if host.port is not None else DEFAULT_PORTS.get(scheme))


def parse_origins(text: str) -> frozenset[Origin]:
    """Origins separated by commas. Raises `ValueError` with the first that is not one."""
    found = set()
    for entry in filter(None, (each.strip() for each in text.split(","))):
        origin = parse_origin(entry)
        if origin is None:
            raise ValueError(entry)
        found.add(origin)
    return frozenset(found)


def parse_names(text: str) -> frozenset[str]:
    """Names of hosts separated by commas, without ports. Raises `ValueError` with the first that is not one."""
    found = set()
    for entry in filter(None, (each.strip() for each in text.split(","))):
        host = parse_host(f"[{entry}]" if ":" in entry and not entry.startswith("[") else entry)
        if host is None or host.port is not None:
            raise ValueError(entry)
        found.add(host.name)
    return frozenset(found)


def is_address(name: str) -> bool:
    """Whether it is an IP address, and no name that somebody's DNS server could answer for."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
