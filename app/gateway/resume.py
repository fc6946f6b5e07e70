"""From an identity to a session: a new one, or the one that a resume token takes up again.

Knows the cell, the door and where departed sessions are kept; it must not know the web framework.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Protocol

from app.gateway.admission import Admission
from app.gateway.cell import Cell
from app.gateway.identity import Identity
from app.gateway.ports import ClientSocket, Timer
from app.gateway.saved_session import SavedSession
from app.gateway.session import ClientConnection, Session, SessionState

Recovered = bool | str


class Departures(Protocol):
    """Where departed sessions are kept beyond this cell. A store that is down loses nothing but resumes."""

    def save(self, token: str, departed: SavedSession) -> None: ...
    def forget(self, token: str) -> None: ...
    async def load(self, token: str) -> SavedSession | None: ...


class Entrance:
    """One for the cell."""

    def __init__(self, cell: Cell, door: Admission, departures: Departures) -> None:
        self.cell = cell
        self.door = door
        self._departures = departures
        self._live: dict[str, Session] = {}
        self._departed: OrderedDict[str, SavedSession] = OrderedDict()
        self._changed: set[Session] = set()
        self._expiry: Timer | None = None
        cell.on_end = self._on_end
        cell.on_commit = self._on_commit

    def knows(self, token: str | None) -> bool:
        """Whether this cell itself holds the session of a resume token."""
        return token is not None and (token in self._live or token in self._departed)

    async def welcome(self, identity: Identity, socket: ClientSocket, connection_id: str, token: str | None) -> Session:
        """Open or resume a session on a socket whose handshake is done; its first event is `connection_ready`."""
        departed = None
        if token is not None and not self.knows(token):
            departed = await self._departures.load(token)
        return self.seat(identity, socket, connection_id, token, departed)

    def seat(
        self,
        identity: Identity,
        socket: ClientSocket,
        connection_id: str,
        token: str | None,
        departed: SavedSession | None,
    ) -> Session:
        """The same without waiting: assign and register happen in one turn."""
        recovered: Recovered = False
        if token is not None and departed is None:
            departed = self._departed.get(token)
        session = self._live.get(token) if token is not None else None
        if session is not None and session.user_id != identity.user_id:
            session = token = None  # somebody else's token opens nothing, and stays good for its owner
        if departed is not None and departed.user_id != identity.user_id:
            departed = token = None
        new_token = secrets.token_urlsafe(24)
        self._use(token)
        if session is not None:
            recovered = True
            client = ClientConnection(socket, connection_id, self.cell.wall_clock(), new_token)
            session.take_up(client, identity.expires_at)
        else:
            if departed is not None and departed.expires_at <= self.cell.wall_clock():
                departed = None
            if departed is not None:
                recovered = True if departed.complete else "stale"
            session = self.cell.open(identity, socket, connection_id, resume_token=new_token, saved=departed)
        self._live[new_token] = session
        session.say(self.cell.codec.ready(session, self.cell.settings.heartbeat_s, recovered))
        if not socket.attach(session):
            session.on_detached()
        elif recovered is True and session.state is SessionState.ACTIVE:
            session.pump()
        return session

    def _use(self, token: str | None) -> None:
        """A token is good for one resume; each connection gets a new one."""
        if token is not None:
            self._live.pop(token, None)
            self._departed.pop(token, None)
            self._departures.forget(token)

    def _on_end(self, session: Session) -> None:
        token = session.resume_token
        self._changed.discard(session)
        if self._live.pop(token, None) is None:
            return
        departed = self._departure_of(session, complete=True)
        self._departed[token] = departed
        self._departures.save(token, departed)
        if self._expiry is None:
            self._expiry = self.cell.later(self.cell.settings.resume_s, self._expire)

    def _expire(self) -> None:
        """Forget what nobody came back for; they lie here oldest first."""
        self._expiry = None
        now = self.cell.wall_clock()
        while self._departed and next(iter(self._departed.values())).expires_at <= now:
            self._departed.popitem(last=False)
        if self._departed:
            left_s = next(iter(self._departed.values())).expires_at - now
            self._expiry = self.cell.later(left_s, self._expire)

    def _on_commit(self, session: Session) -> None:
        self._changed.add(session)

    def changed(self, most: int) -> list[tuple[str, SavedSession]]:
        """Up to `most` living sessions whose document changed since they were asked for last."""
        batch = [self._changed.pop() for _ in range(min(most, len(self._changed)))]
        return [
            (session.resume_token, self._departure_of(session, complete=False))
            for session in batch
            if session.resume_token in self._live
        ]

    def _departure_of(self, session: Session, complete: bool) -> SavedSession:
        return session.saved(self.cell.wall_clock() + self.cell.settings.resume_s, complete=complete)


class NoDepartures:
    """Kept in this cell's memory only."""

    def save(self, token: str, departed: SavedSession) -> None:
        pass

    def forget(self, token: str) -> None:
        pass

    async def load(self, token: str) -> SavedSession | None:
        return None
