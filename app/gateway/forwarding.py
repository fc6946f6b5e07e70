"""How a request reached us: the address it comes from, and the scheme and host under which its sender knows us.

Proxies say so in headers, which are believed from trusted ones only: `X-Forwarded-For`, `-Host` and `-Proto`, or, where
there is none of these, `Forwarded` (RFC 7239). No text in a header makes this raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from app.gateway.addresses import Networks, client_address, within
from app.origins import DEFAULT_PORTS, parse_host, parse_origin

Lines: TypeAlias = Callable[[str], Sequence[str]]
"""The values of a header, by its name in lower case and in the order in which they came; none: empty."""
SECURE: Final = frozenset({"https", "wss"})
_X_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_PAIR: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,;\"]*))\s*")


class Reached(NamedTuple):
    """How a request reached us, as far as it may be believed."""

    address: str
    """Of the client."""
    host: str
    """Name and perhaps port, as a browser writes it; empty: unknown."""
    scheme: str
    """In lower case; empty: nobody has said."""


def reached(peer: str, lines: Lines, trusted: Networks) -> Reached:
    """How a request reached us. `peer`: the address of the other end of its connection."""
    host = _first(lines("host"))
    if not within(peer, trusted):
        return Reached(client_address(peer, (), ()), host, "")
    if any(lines(name) for name in _X_FORWARDED):
        hops = _items(lines("x-forwarded-for"))
        said_host, said_scheme = _first(lines("x-forwarded-host")), _first(lines("x-forwarded-proto"))
    else:
        elements = parse_forwarded(lines("forwarded"))
        hops = [element.get("for", "") for element in elements]
        said_host, said_scheme = (elements[0].get(name, "") if elements else "" for name in ("host", "proto"))
    return Reached(client_address(peer, hops, trusted), said_host or host, said_scheme.lower())


def says_secure(lines: Lines) -> bool:
    """Whether a proxy, trusted or not, says that the browser uses TLS: for what a forged header only makes stricter."""
    said = _first(lines("x-forwarded-proto"))
    if not said:
        elements = parse_forwarded(lines("forwarded"))
        said = elements[0].get("proto", "") if elements else ""
    return said.lower() in SECURE


def same_origin(origin: str, here: Reached) -> bool:
    """Whether a page of this origin is one of ours: the same name and port, and TLS where a trusted proxy has TLS.

    A port that is not written is the default of the page's scheme, because behind a proxy nobody may say which it is.
    """
    page, own = parse_origin(origin), parse_host(here.host)
    if page is None or own is None or page.scheme not in ("http", "https"):
        return False
    if here.scheme in SECURE and page.scheme != "https":
        return False
    port = own.port if own.port is not None else DEFAULT_PORTS[page.scheme]
    return (page.name, page.port) == (own.name, port)


def parse_forwarded(lines: Sequence[str]) -> list[Mapping[str, str]]:
    """The elements of `Forwarded`, the client's first; names in lower case. What is malformed says nothing: empty."""
    elements: list[dict[str, str]] = [{}]
    text = ",".join(lines)
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is not None:
            quoted, token = pair[2], pair[3]
            elements[-1].setdefault(pair[1].lower(), token if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            at = pair.end()
        if at < len(text):
            if text[at] == ",":
                elements.append({})
            elif text[at] not in "; \t":
                return []
            at += 1
    return [element for element in elements if element]


def _items(lines: Sequence[str]) -> list[str]:
    return [item.strip() for line in lines for item in line.split(",") if item.strip()]


def _first(lines: Sequence[str]) -> str:
    """The first of a list: what the proxy in front of all others wrote."""
    items = _items(lines)
    return items[0] if items else ""
