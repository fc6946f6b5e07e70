"""Keeps the token good that the commands of this host use: its secret is in the data folder, and nowhere else.

It ends a month after the last service that had the folder: a folder that is lost leaves no token that is good for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from app.errors import StoreUnavailable
from app.store.tokens import OPERATOR_S, digest_of

FIRST_S: Final = 5.0
"""After the start, which nothing must delay."""
RENEW_S: Final = 86_400.0
AGAIN_S: Final = 60.0
"""After a renewal that failed."""
log = structlog.get_logger()


class RenewableTokens(Protocol):
    """What is asked of the store."""

    async def renew_token(self, digest: str, expires_at: float) -> bool:
        """Whether there is such a token. Raises StoreUnavailable."""
        ...


class OperatorToken:
    """The token in a file, for as long as the service runs; a file that is not there is none."""

    def __init__(self, store: RenewableTokens, file: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix seconds."""
        self._store = store
        self._clock = clock
        try:
            self._digest = digest_of(file.read_text().strip())
        except (OSError, UnicodeError):
            self._digest = ""

    async def run(self) -> None:
        """Renew it soon and once a day, until cancelled."""
        await asyncio.sleep(FIRST_S)
        while self._digest:
            renewed = await self.renew()
            await asyncio.sleep(RENEW_S if renewed else AGAIN_S)

    async def renew(self) -> bool:
        """Whether it is good for another month, or for ever out of use. Raises nothing."""
        try:
            if self._digest and not await self._store.renew_token(self._digest, self._clock() + OPERATOR_S):
                log.info("the token of the commands on this host was revoked; the next start makes another one")
                self._digest = ""
        except StoreUnavailable:
            return False
        return True
