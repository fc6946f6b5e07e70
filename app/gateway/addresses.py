"""The address of a client, also behind proxies, and the networks it may be in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def parse_networks(text: str) -> Networks:
    """Addresses or networks, comma-separated. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def client_address(peer: str, forwarded: Iterable[str], trusted: Networks) -> str:
    """The client's address: the peer, unless that is a configured proxy; then the last hop that is no such proxy.

    `forwarded`: the values of `X-Forwarded-For`, in order. What an untrusted peer writes there is ignored.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",") if hop.strip()]
    address = peer
    while hops and within(address, trusted):
        address = hops.pop()
    return address


def within(address: str, networks: Networks) -> bool:
    """Whether an address is in one of the networks; False for what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)


def network_of(address: str) -> str:
    """What a limit by address counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
