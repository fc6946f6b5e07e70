"""A session moves from one cell to another, because its client came back there: claimed in the store, given up, taken.

The store decides: of several cells that claim a session the last one gets it, once the cell that has it has given it up
and written down how far it came. While the store is away only the cell that has a session goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import time
from typing import Protocol

import structlog

from app.errors import StoreUnavailable
from app.gateway.resume_index import ResumeIndex, digest_of
from app.gateway.resume_store import ResumeStore, row_of, saved_in
from app.gateway.saved_session import SavedSession
from app.store.port import ClaimedResume, StoredResume

GIVE_UP_S = 1.0
"""What runs in a session that another cell wants may finish within this time."""
TAKE_S = 2.5
"""How long a client that comes back waits for the cell that has its session; after that it is taken for dead."""
ASK_S = GIVE_UP_S + 0.3
LOOK_S = 0.1
WANTED_S = 0.25
"""How often a cell looks for sessions that cells of other hosts want of it."""
AT_ONCE = 100
TAKING = 1_000
"""Clients that may wait at once; more begin anew."""
log = structlog.get_logger()


class ClaimRows(Protocol):
    """What is asked of the store. All calls raise `StoreUnavailable`."""

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None: ...
    async def claim_resume(self, digest: str, holder: str, now: float) -> ClaimedResume | None: ...
    async def look_at_resume(self, digest: str, holder: str) -> ClaimedResume | None: ...
    async def wanted_resumes(self, holder: str) -> Sequence[str]: ...
    async def give_up_resume(self, digest: str, holder: str, last: StoredResume | None) -> None: ...


Ask = Callable[[str, float], Awaitable[bool]]
"""Tells the other cells of this host that a session is wanted (digest, seconds); whether one of them has it."""


class SessionTakeover:
    """One for the cell. `alone`: no other cell uses the store."""

    def __init__(
        self, store: ClaimRows, resumes: ResumeIndex, resume_store: ResumeStore, name: str, ask: Ask, *, alone: bool
    ) -> None:
        self._store = store
        self._resumes = resumes
        self._resume_store = resume_store
        self._name = name
        self._ask = ask
        self._alone = alone
        self._taking: dict[str, asyncio.Task[SavedSession | None]] = {}
        self._giving = asyncio.Lock()

    # -- taking -------------------------------------------------------------------------------------------------------

    async def take(self, token: str, user_id: str) -> SavedSession | None:
        """The session of a user's token that this cell does not have; None: there is none, or it cannot be had now.

        Whoever gets it opens it in the same turn.
        """
        digest = digest_of(token, user_id)
        taking = self._taking.get(digest)
        if taking is None:
            if len(self._taking) >= TAKING:
                return None
            taking = self._taking[digest] = asyncio.create_task(self._take(digest), name="take-session")
        taken = await asyncio.shield(taking)
        # Whoever else waits for it finds it opened. What another cell has claimed by now is that cell's.
        mine = self._taking.get(digest) is taking
        if mine:
            del self._taking[digest]
        return taken if mine else None

    async def _take(self, digest: str) -> SavedSession | None:
        try:
            claimed = await self._claim(digest)
            if claimed is not None and claimed.previous:
                claimed = await self._given_up(digest, claimed)
        except StoreUnavailable:
            return None
        return None if claimed is None else saved_in(claimed.resume)

    async def _claim(self, digest: str) -> ClaimedResume | None:
        await self._resume_store.flush()  # this token may just have been spent here
        claimed = await self._store.claim_resume(digest, self._name, time())
        if claimed is None and not self._alone and await self._ask(digest, ASK_S):
            # It had not been written down yet.
            claimed = await self._store.claim_resume(digest, self._name, time())
        return claimed

    async def _given_up(self, digest: str, claimed: ClaimedResume) -> ClaimedResume | None:
        """Wait until the cell that has it has given it up. None: another cell has claimed it meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + TAKE_S
        await self._ask(digest, ASK_S)
        last: ClaimedResume | None = claimed
        while last is not None and last.previous and loop.time() < end:
            last = await self._store.look_at_resume(digest, self._name)
            if last is not None and last.previous:
                await asyncio.sleep(LOOK_S)
        if last is not None and last.previous:
            log.warning("a session is taken from a cell that does not answer", cell=last.previous)
            await self._store.give_up_resume(digest, last.previous, None)
        return last

    # -- giving -------------------------------------------------------------------------------------------------------

    async def wanted(self, digest: str) -> bool:
        """Another cell of this host wants this session; whether this cell has it, and has written it down."""
        state = self._resumes.state(digest)
        if state is not None:
            await self._store.save_resumes([row_of(digest, state, self._name)])
        await self.give_up_wanted()
        return state is not None

    async def give_up_wanted(self) -> None:
        """Give up every session that another cell has claimed. Raises StoreUnavailable."""
        async with self._giving:
            await self._resume_store.flush()
            for batch in batched(await self._store.wanted_resumes(self._name), AT_ONCE):
                await asyncio.gather(*map(self._give_up, batch))

    async def _give_up(self, digest: str) -> None:
        self._taking.pop(digest, None)  # this cell could have had it, and was asked before it opened it
        saved = await self._resumes.give_up(digest, GIVE_UP_S)
        if saved is None:
            await self._resume_store.flush()  # this token may just have been spent by another one
        last = None if saved is None else row_of(digest, saved, self._name)
        await self._store.give_up_resume(digest, self._name, last)

    async def run(self) -> None:
        """Look for sessions that are wanted, until cancelled."""
        while not self._alone:
            await asyncio.sleep(WANTED_S)
            try:
                await self.give_up_wanted()
            except StoreUnavailable:
                continue
            except Exception:
                log.exception("giving up sessions failed")


def batched(digests: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """All of them, in order, up to `most` at a time."""
    return (digests[begin : begin + most] for begin in range(0, len(digests), most))
