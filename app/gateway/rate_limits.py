"""Token buckets: how fast a user may send and an address may connect. Time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from typing import NamedTuple


class Rate(NamedTuple):
    """How much at once, and how much a second after that."""

    per_second: float
    burst: float


FRAME_RATE = Rate(per_second=200, burst=4096)
"""What one connection to a built-in path may send besides whole text messages, see `FrameDecoder.cost`.

A client that pings every second uses 1 % of it. The burst pays for ten messages of 8 KiB, each in 128 fragments.
"""


RECENT = 65_536
"""Keys that have a bucket at once."""
FORGOTTEN_AT_ONCE = 2000
"""Keys looked at in one turn of the loop: less than a millisecond."""


class TokenBucket:
    """`burst` at once, refilled at `per_second`."""

    __slots__ = ("burst", "per_second", "tokens", "updated_at")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self.tokens = float(burst)
        self.updated_at = now

    def take(self, now: float, cost: float = 1) -> bool:
        """Use `cost` tokens if there are as many. `now` in monotonic seconds."""
        tokens = min(self.burst, self.tokens + (now - self.updated_at) * self.per_second)
        self.updated_at = now
        if tokens < cost:
            self.tokens = tokens
            return False
        self.tokens = tokens - cost
        return True

    def full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        return self.tokens + (now - self.updated_at) * self.per_second >= self.burst


class TokenBuckets:
    """A bucket for each key that was seen lately, `most` at most; the least recently used are dropped first."""

    def __init__(self, per_second: float, burst: float, most: int = RECENT) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def of(self, key: str, now: float) -> TokenBucket:
        """The bucket of a key, full when it is new. `now` in monotonic seconds."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._per_second, self._burst, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket

    def forget_full(self, now: float, in_use: Container[str] = (), most: int = FORGOTTEN_AT_ONCE) -> None:
        """Look at `most` keys, the least recently used first, and forget those whose bucket is full again.

        `in_use`: keys whose bucket somebody holds; forgotten, it would be a second one beside the next. Call it every
        few seconds, so that no key is known for much longer than it matters.
        """
        for _ in range(min(most, len(self._buckets))):
            key, bucket = next(iter(self._buckets.items()))
            if bucket.full(now) and key not in in_use:
                del self._buckets[key]
            else:
                self._buckets.move_to_end(key)

    def __len__(self) -> int:
        return len(self._buckets)
