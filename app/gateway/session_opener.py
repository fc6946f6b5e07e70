"""From an admitted client to its session: a new one, or the one that its resume token takes up again."""

from __future__ import annotations

import secrets

from app.gateway.admission import Admission, Caller
from app.gateway.cell import Cell
from app.gateway.identity import Identity
from app.gateway.ports import ClientSocket, SavedSessions, Socket
from app.gateway.resume_index import ResumeIndex
from app.gateway.saved_session import SavedSession
from app.gateway.session import Session
from app.gateway.session_setup import ClientConnection


class SessionOpener:
    """One for the cell; the handlers of `/ws` and `/api/messages` come here."""

    def __init__(self, cell: Cell, admission: Admission, resumes: ResumeIndex, storage: SavedSessions) -> None:
        self.cell = cell
        self._admission = admission
        self._resumes = resumes
        self._storage = storage

    async def admit(self, caller: Caller, *, socket: bool, resume_token: str | None = None) -> Identity:
        """Who the caller is. Raises `AdmissionRefused`. `socket`: a WebSocket is to be opened, no message posted."""
        return await self._admission.admit(caller, socket=socket, resuming=self._resumes.knows(resume_token))

    def open_http(self, identity: Identity, socket: Socket) -> Session:
        """A session of one message."""
        return self.cell.open(identity, socket, "h-" + secrets.token_hex(8), "http")

    async def open_websocket(self, identity: Identity, socket: ClientSocket, token: str | None) -> Session:
        """Open or resume a session on a socket whose handshake is done; its first event is `connection_ready`."""
        stored = None
        if token is not None and not self._resumes.knows(token):
            stored = await self._storage.load(token)
        return self.open_or_resume(identity, socket, token, stored)

    def open_or_resume(
        self, identity: Identity, socket: ClientSocket, token: str | None, stored: SavedSession | None
    ) -> Session:
        """The same without waiting: assign and register happen in one turn. `stored`: what storage had for `token`."""
        found = self._resumes.claim(token, identity.user_id) if token is not None else None
        if found is None and token is not None and stored is not None:
            found = self._accept_stored(token, stored, identity.user_id)
        client = ClientConnection(
            socket, "c-" + secrets.token_hex(8), self.cell.wall_clock(), secrets.token_urlsafe(24)
        )
        if isinstance(found, Session):
            session = found
            session.reconnect(client, identity.expires_at)
        else:
            session = self.cell.open(
                identity, socket, client.connection_id, resume_token=client.resume_token, saved=found
            )
        self._resumes.add(session)
        recovered: bool | str = found is not None
        if isinstance(found, SavedSession) and not found.complete:
            recovered = "stale"
        session.send_event(self.cell.codec.ready(session, self.cell.settings.heartbeat_s, recovered))
        if not socket.attach(session):
            session.on_detached()
        return session

    def _accept_stored(self, token: str, stored: SavedSession, user_id: str) -> SavedSession | None:
        if stored.user_id != user_id:
            self._storage.save(token, stored)  # loading took it out; it stays good for its owner
            return None
        return stored if stored.expires_at > self.cell.wall_clock() else None
