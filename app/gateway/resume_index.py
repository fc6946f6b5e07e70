"""Which resume token belongs to which session of this cell: the living ones, and those that ended a short while ago.

Tokens are known by their digest only. A token is spent when its successor has arrived; until then both are good.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from time import time

from app.gateway.ports import SavedSessions
from app.gateway.saved_session import SavedSession
from app.gateway.session import Session


def digest_of(token: str, user_id: str) -> str:
    """What a token is known by: it opens nothing for another user, and the store never has the token itself."""
    return sha256(f"{token}\0{user_id}".encode()).hexdigest()


@dataclass(eq=False, slots=True)
class _Entry:
    """A session and the tokens that open it: its own, and the one it was taken up with until that is spent."""

    digests: list[str]
    session: Session | None
    saved: SavedSession | None = None
    """Once the session has ended."""
    given_up: asyncio.Future[SavedSession] | None = field(default=None)
    """Another cell waits for it."""


class ResumeIndex:
    """One for the cell, and made before it: the cell's observer passes on what it says of sessions."""

    def __init__(
        self, storage: SavedSessions, resume_s: float, wall_clock: Callable[[], float] = time, *, most: int = 20_000
    ) -> None:
        """A session can be resumed for `resume_s` seconds after its end; `wall_clock` gives Unix seconds.

        `most`: ended sessions that are kept here; of more, the oldest are in storage alone. If it is as many as may be
        open, those have been there for a while.
        """
        self._most = most
        self._storage = storage
        self._resume_s = resume_s
        self._wall_clock = wall_clock
        self._entries: dict[str, _Entry] = {}
        self._of: dict[Session, _Entry] = {}
        self._ended: OrderedDict[_Entry, None] = OrderedDict()
        """In the order in which they expire."""
        self._changed: set[Session] = set()

    def knows(self, token: str | None, user_id: str) -> bool:
        """Whether this cell itself has the session of a user's token."""
        self.forget_expired()
        return token is not None and digest_of(token, user_id) in self._entries

    def claim(self, token: str, user_id: str) -> Session | SavedSession | None:
        """The session of a token; None: this cell has none for that user. `add` follows in the same turn.

        The session's other token is spent: if it was the older one, its successor has arrived.
        """
        self.forget_expired()
        claimed = digest_of(token, user_id)
        entry = self._entries.get(claimed)
        if entry is None:
            return None
        self._spend(entry, but=claimed)
        if entry.session is not None:
            return entry.session
        self._drop(entry)
        return entry.saved

    def add(self, session: Session, claimed: str | None = None) -> None:
        """The session can be resumed with its token from now on, and with `claimed`, by which it was just taken up."""
        earlier = self._of.get(session)
        if earlier is not None:
            self._drop(earlier)
        tokens = [session.resume_token] if claimed is None else [claimed, session.resume_token]
        entry = self._of[session] = _Entry([digest_of(token, session.user_id) for token in tokens], session)
        self._entries |= dict.fromkeys(entry.digests, entry)
        self._changed.add(session)

    def unconfirmed(self, session: Session) -> bool:
        """Whether it was taken up, and it is not known yet that its client has the new token."""
        entry = self._of.get(session)
        return entry is not None and len(entry.digests) > 1

    def confirm(self, session: Session) -> None:
        """Its client has the session's token: the one it was taken up with is spent."""
        entry = self._of.get(session)
        if entry is not None:
            self._spend(entry, but=entry.digests[-1])

    def session_committed(self, session: Session) -> None:
        """It has a new state document."""
        self._changed.add(session)

    def session_ended(self, session: Session) -> None:
        """Keep what a client needs to come back, unless nobody can: there never was a token, or another cell has it."""
        self._changed.discard(session)
        entry = self._of.pop(session, None)
        if entry is None:
            return
        saved = session.saved(self._wall_clock() + self._resume_s, complete=True)
        if entry.given_up is not None:
            if not entry.given_up.done():
                entry.given_up.set_result(saved)
            return
        self.forget_expired()
        entry.session, entry.saved = None, saved
        self._ended[entry] = None
        for digest in entry.digests:
            self._storage.save(digest, saved)
        if len(self._ended) > self._most:
            self._leave_to_storage()

    def changed(self, most: int) -> list[tuple[str, SavedSession]]:
        """Digest and state of up to `most` living sessions that have changed since they were asked for last."""
        batch = [self._changed.pop() for _ in range(min(most, len(self._changed)))]
        expires_at = self._wall_clock() + self._resume_s
        return [
            (digest, session.saved(expires_at, complete=False))
            for session in batch
            if (entry := self._of.get(session)) is not None
            for digest in entry.digests
        ]

    def state(self, digest: str) -> SavedSession | None:
        """What there is to save of this session now; None: this cell does not have it."""
        entry = self._entries.get(digest)
        if entry is None or entry.session is None:
            return None if entry is None else entry.saved
        return entry.session.saved(self._wall_clock() + self._resume_s, complete=False)

    async def give_up(self, digest: str, limit_s: float) -> SavedSession | None:
        """End this session for another cell, which goes on with what is returned; None: this cell does not have it.

        What runs may finish within `limit_s` seconds, then it is interrupted.
        """
        entry = self._entries.get(digest)
        if entry is None:
            return None
        self._spend(entry, but=digest)
        self._drop(entry)
        session = entry.session
        if session is None:
            return entry.saved
        given_up: asyncio.Future[SavedSession] = asyncio.get_running_loop().create_future()
        entry.given_up = given_up
        self._of[session] = entry
        session.close(1008, "resumed elsewhere")
        await asyncio.wait({given_up}, timeout=limit_s)
        session.end()
        return await given_up

    def _spend(self, entry: _Entry, but: str) -> None:
        for digest in entry.digests:
            if digest != but:
                del self._entries[digest]
                self._storage.spend(digest)
        entry.digests = [but]

    def _drop(self, entry: _Entry) -> None:
        """This cell has it no more, or under another entry."""
        for digest in entry.digests:
            self._entries.pop(digest, None)
            self._storage.drop(digest)
        self._ended.pop(entry, None)
        if entry.session is not None:
            self._of.pop(entry.session, None)

    def _leave_to_storage(self) -> None:
        """Forget the oldest session that has ended, which is taken from storage then, as in any other cell.

        Not one that two tokens open: in storage each of them would open a session of its own.
        """
        oldest = next((entry for entry in self._ended if len(entry.digests) == 1), None)
        if oldest is not None:
            del self._ended[oldest]
            del self._entries[oldest.digests[0]]

    def forget_expired(self) -> None:
        """Forget those to which nobody can come back any more; called every few seconds, too."""
        now = self._wall_clock()
        while self._ended:
            entry = next(iter(self._ended))
            if entry.saved is None or entry.saved.expires_at > now:
                return
            self._drop(entry)
