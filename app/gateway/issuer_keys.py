"""The keys that an issuer publishes, kept and renewed, so that a slow or silent issuer holds up nobody but newcomers.

There is one fetch at a time, which all who need it wait for, and none begins earlier than `BETWEEN_S` after the last.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from app.errors import CrossfadeError
from app.gateway.key_set_fetch import FetchFailed
from app.verification_keys import UnusableKeys, VerificationKey, keys_of_jwks

WAIT_S = 2.0
"""A caller waits so long at most."""
FETCH_S = 10.0
"""A fetch takes so long at most: a slow issuer's keys are there for those who come again."""
BETWEEN_S = 10.0
FRESH_S = 300.0
"""Keys that are older are renewed when they are next asked for; nobody waits for that."""
GOOD_S = 3600.0
"""Keys that could not be renewed for so long check nothing any more: the issuer may have withdrawn them."""
MOST_WAITING = 64
log = structlog.get_logger()


class KeysUnavailable(CrossfadeError):
    """A token cannot be checked now; `retry_after_s`: seconds until it may be worth another try."""

    def __init__(self, why: str, retry_after_s: float) -> None:
        super().__init__(why)
        self.retry_after_s = max(1, math.ceil(retry_after_s))


class UnknownKey(CrossfadeError):
    """The issuer was asked and does not have this key."""


class IssuerKeys:
    """One for the cell; call it in the event loop. Keys are fetched when they are first asked for."""

    def __init__(
        self,
        fetch: Callable[[float], Awaitable[bytes]],
        shown_url: str,
        *,
        clock: Callable[[], float] = monotonic,
        wait_s: float = WAIT_S,
    ) -> None:
        """`fetch(limit_s)` gives the published set or raises `FetchFailed`. `shown_url` is for the log.

        `clock` gives monotonic seconds.
        """
        self._fetch = fetch
        self._shown_url = shown_url
        self._clock = clock
        self._wait_s = wait_s
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_at = -math.inf
        self._begun_at = -math.inf
        self._failed = ""
        """Why the last fetch failed; empty: it did not."""
        self._failing = False
        """Whether the one before had failed."""
        self._fetching: asyncio.Task[None] | None = None
        self._waiting = 0

    async def of(self, name: str | None, instead_of: VerificationKey | None = None) -> VerificationKey:
        """The key of this name (`kid`); where either side has no names, the only key.

        `instead_of`: a key without a name that does not fit, so the issuer may have replaced it. Raises
        `KeysUnavailable` when the issuer could not be asked, `UnknownKey` when it has no such key.
        """
        key = self._find(name)
        if key is None or key is instead_of:
            await self._renewed()
            key = self._find(name)
        elif self._clock() - self._fetched_at > FRESH_S:
            self._begin()
        if key is None or key is instead_of:
            raise UnknownKey
        return key

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    def _find(self, name: str | None) -> VerificationKey | None:
        if self._clock() - self._fetched_at > GOOD_S:
            return None
        if len(self._keys) == 1 and (name is None or self._keys[0].name is None):
            return self._keys[0]
        return next((key for key in self._keys if name is not None and key.name == name), None)

    async def _renewed(self) -> None:
        """Wait for the fetch under way, or for one that may begin now. Raises `KeysUnavailable`."""
        fetching = self._begin()
        if fetching is not None:
            if self._waiting >= MOST_WAITING:
                raise KeysUnavailable("too many wait for the issuer's keys", self._wait_s)
            self._waiting += 1
            try:
                await asyncio.wait({fetching}, timeout=self._wait_s)
            finally:
                self._waiting -= 1
            if not fetching.done():
                raise KeysUnavailable("the issuer has not answered yet", self._wait_s)
        if self._failed:
            raise KeysUnavailable(self._failed, self._begun_at + BETWEEN_S - self._clock())

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch under way, if need be a new one; None: it is too early for another."""
        if self._fetching is None and self._clock() - self._begun_at >= BETWEEN_S:
            self._begun_at = self._clock()
            self._failing, self._failed = bool(self._failed), "the fetch was broken off"
            self._fetching = asyncio.create_task(self._renew(), name="issuer-keys")
        return self._fetching

    async def _renew(self) -> None:
        try:
            keys = keys_of_jwks(await self._fetch(FETCH_S))
        except (FetchFailed, UnusableKeys) as error:
            self._failed = str(error)
            good_s = max(0.0, self._fetched_at + GOOD_S - self._clock())
            log.warning(
                "the issuer's keys cannot be fetched",
                url=self._shown_url,
                error=self._failed,
                kept_good_s=round(good_s),
            )
        else:
            if self._failing:
                log.info("the issuer's keys can be fetched again", url=self._shown_url, keys=len(keys))
            self._keys, self._fetched_at, self._failed = keys, self._clock(), ""
        finally:
            self._fetching = None
