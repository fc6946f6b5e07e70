"""Which resume token belongs to which session of this cell: the living ones, and those that ended a short while ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import time

from app.gateway.ports import SavedSessions
from app.gateway.saved_session import SavedSession
from app.gateway.session import Session


class ResumeIndex:
    """One for the cell, and made before it: the cell's observer passes on what it says of sessions."""

    def __init__(self, storage: SavedSessions, resume_s: float, wall_clock: Callable[[], float] = time) -> None:
        """A session can be resumed for `resume_s` seconds after its end; `wall_clock` gives Unix seconds."""
        self._storage = storage
        self._resume_s = resume_s
        self._wall_clock = wall_clock
        self._live: dict[str, Session] = {}
        self._ended: OrderedDict[str, SavedSession] = OrderedDict()
        """In the order in which they expire."""
        self._changed: set[Session] = set()

    def knows(self, token: str | None) -> bool:
        """Whether this cell itself has the session of a token."""
        self._forget_expired()
        return token is not None and (token in self._live or token in self._ended)

    def add(self, session: Session) -> None:
        """The session can be resumed with its token from now on."""
        self._live[session.resume_token] = session

    def claim(self, token: str, user_id: str) -> Session | SavedSession | None:
        """The session of a token, which is good for nothing afterwards. None: this cell has none for that user.

        Somebody else's token opens nothing, and stays good for its owner.
        """
        self._forget_expired()
        found = self._live.get(token) or self._ended.get(token)
        if found is None or found.user_id != user_id:
            return None
        self._live.pop(token, None)
        self._ended.pop(token, None)
        self._storage.forget(token)
        return found

    def session_committed(self, session: Session) -> None:
        """It has a new state document."""
        self._changed.add(session)

    def session_ended(self, session: Session) -> None:
        """Keep what a client needs to come back, unless nobody can: its token was used, or there never was one."""
        token = session.resume_token
        self._changed.discard(session)
        if self._live.pop(token, None) is None:
            return
        self._forget_expired()
        saved = self._ended[token] = session.saved(self._wall_clock() + self._resume_s, complete=True)
        self._storage.save(token, saved)

    def changed(self, most: int) -> list[tuple[str, SavedSession]]:
        """Token and state of up to `most` living sessions whose document has changed since they were asked for last."""
        batch = [self._changed.pop() for _ in range(min(most, len(self._changed)))]
        expires_at = self._wall_clock() + self._resume_s
        return [
            (session.resume_token, session.saved(expires_at, complete=False))
            for session in batch
            if session.resume_token in self._live
        ]

    def _forget_expired(self) -> None:
        now = self._wall_clock()
        while self._ended and next(iter(self._ended.values())).expires_at <= now:
            self._ended.popitem(last=False)
