"""Which of our own requests may go through a proxy that the environment names: never those to this machine.

A proxy would get the operator's token, and could not reach this machine's loopback anyway.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Also in lower case; see the documentation of httpx, "Environment variables"."""


def may_use_proxy(url: str) -> bool:
    """Whether a request to this URL may go through a proxy; False: its host is this machine, or in `NO_PROXY`."""
    from urllib.request import proxy_bypass  # takes 30 ms, which `crossfade --help` need not spend

    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return not proxy_bypass(host)
    address = getattr(address, "ipv4_mapped", None) or address
    return not (address.is_loopback or address.is_unspecified or proxy_bypass(host))


def proxy_variables(environ: Mapping[str, str] = os.environ) -> str:
    """The variables that name a proxy, for a person; empty: there are none. Their values may hold passwords."""
    return ", ".join(name for each in VARIABLES for name in (each, each.lower()) if environ.get(name))
