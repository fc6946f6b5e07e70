"""The address of a client, also behind proxies, and the networks it may be in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def parse_networks(text: str) -> Networks:
    """Addresses or networks, comma-separated. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def parse_address(text: str) -> str | None:
    """An address in its shortest form, without the port, brackets, quotes and zone it may have; None: it is none.

    An IPv4 address that came as an IPv6 one (`::ffff:…`) is the IPv4 address.
    """
    bare = text.strip().strip('"')
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def client_address(peer: str, hops: Iterable[str], trusted: Networks) -> str:
    """The client's address: the peer, unless that is a configured proxy; then the last hop that is no such proxy.

    `hops`: what proxies wrote, in order. What an untrusted peer writes there is ignored, and so is everything before
    a hop that is no address, such as `unknown`.
    """
    address = parse_address(peer) or peer
    remaining = list(hops)
    while remaining and within(address, trusted):
        hop = parse_address(remaining.pop())
        if hop is None:
            break
        address = hop
    return address


def within(address: str, networks: Networks) -> bool:
    """Whether an address is in one of the networks; False for what is no address."""
    try:
        parsed = ipaddress.ip_address(parse_address(address) or address)
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
