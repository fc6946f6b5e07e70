"""How many event streams may be open at once: for one browser, from one address, and in all."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Final

PER_BROWSER: Final = 4
"""A browser needs one for all its pages; of the six connections that it opens to a service, clicks need some."""
PER_ADDRESS: Final = 64
IN_ALL: Final = 256
"""In one cell."""


class NoPlace(Exception):
    """There are too many event streams; a page then asks every few seconds instead.

    `status` is 429 where whoever asks has too many, and 503 where all together have.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Place:
    """One open stream; given back by `leave`, or when it is forgotten."""

    def __init__(self, places: StreamPlaces, browser: str, address: str) -> None:
        self.leave = weakref.finalize(self, places.give_back, browser, address)


class StreamPlaces:
    def __init__(self, per_browser: int = PER_BROWSER, per_address: int = PER_ADDRESS, in_all: int = IN_ALL) -> None:
        self._per_browser = per_browser
        self._per_address = per_address
        self._in_all = in_all
        self._of_browser: Counter[tuple[str, str]] = Counter()
        self._of_address: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._of_address.total()

    def take(self, browser: str, address: str) -> Place:
        """A place for a stream of this browser at this address. Raises NoPlace."""
        if self._of_browser[browser, address] >= self._per_browser:
            raise NoPlace(429, f"this browser has {self._per_browser} event streams open, which is the limit")
        if self._of_address[address] >= self._per_address:
            raise NoPlace(429, f"this address has {self._per_address} event streams open, which is the limit")
        if self.taken >= self._in_all:
            raise NoPlace(503, f"{self._in_all} event streams are open, which is the limit of this service")
        self._of_browser[browser, address] += 1
        self._of_address[address] += 1
        return Place(self, browser, address)

    def give_back(self, browser: str, address: str) -> None:
        """What a `Place` calls, once."""
        # `+` keeps what is above zero.
        self._of_browser[browser, address] -= 1
        self._of_address[address] -= 1
        self._of_browser, self._of_address = +self._of_browser, +self._of_address
