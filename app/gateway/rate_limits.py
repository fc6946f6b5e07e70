"""Token buckets: how fast a user may send and an address may connect.

Time is an argument; nothing is counted in the background.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable


class TokenBucket:
    """`burst` at once, refilled with `per_second`."""

    __slots__ = ("burst", "per_second", "tokens", "updated_at")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self.tokens = float(burst)
        self.updated_at = now

    def take(self, now: float) -> bool:
        """Use one token if there is one. `now` in monotonic seconds."""
        tokens = min(self.burst, self.tokens + (now - self.updated_at) * self.per_second)
        self.updated_at = now
        if tokens < 1:
            self.tokens = tokens
            return False
        self.tokens = tokens - 1
        return True

    def full(self, now: float) -> bool:
        """Whether forgetting this bucket changes nothing."""
        return self.tokens + (now - self.updated_at) * self.per_second >= self.burst


class Buckets:
    """A bucket for each key that was seen lately; at most `most`, the longest unused are forgotten first."""

    def __init__(self, per_second: float, burst: float, most: int = 65_536) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def of(self, key: str, now: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._per_second, self._burst, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)


Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def parse_networks(text: str) -> Networks:
    """Addresses or networks, comma-separated. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def client_address(peer: str, forwarded: Iterable[str], trusted: Networks) -> str:
    """The client's address: the peer, unless that is a configured proxy; then the last hop that is none.

    `forwarded`: the values of `X-Forwarded-For`, in order. What an untrusted peer writes there is not believed.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",") if hop.strip()]
    address = peer
    while hops and within(address, trusted):
        address = hops.pop()
    return address


def within(address: str, networks: Networks) -> bool:
    """Whether an address is in one of the networks; what is no address is in none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)
