"""From an admitted client to its session: a new one, or the one that its resume token takes up again."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import Protocol

from app.gateway.admission import Admission, Caller
from app.gateway.cell import Cell
from app.gateway.identity import Identity
from app.gateway.ports import ClientSocket, Socket
from app.gateway.resume_index import ResumeIndex
from app.gateway.saved_session import SavedSession
from app.gateway.session import Session
from app.gateway.session_setup import ClientConnection


class Takeover(Protocol):
    """Gets a session from another cell."""

    async def take(self, token: str, user_id: str) -> SavedSession | None: ...


class SessionOpener:
    """One for the cell; the handlers of `/ws` and `/api/messages` come here."""

    def __init__(self, cell: Cell, admission: Admission, resumes: ResumeIndex, takeover: Takeover) -> None:
        self.cell = cell
        self._admission = admission
        self._resumes = resumes
        self._takeover = takeover

    async def admit(self, caller: Caller, *, socket: bool, resume_token: str | None = None) -> Identity:
        """Who the caller is. Raises `AdmissionRefused`. `socket`: a WebSocket is to be opened, no message posted."""
        resumes = None if resume_token is None else partial(self._resumes.knows, resume_token)
        return await self._admission.admit(caller, socket=socket, resumes=resumes)

    def open_http(self, identity: Identity, socket: Socket) -> Session:
        """A session of one message."""
        return self.cell.open(identity, socket, "h-" + secrets.token_hex(8), "http")

    async def open_websocket(self, identity: Identity, socket: ClientSocket, token: str | None) -> Session:
        """Open or resume a session on a socket whose handshake is done; its first event is `connection_ready`."""
        stored = None
        if token is not None and not self._resumes.knows(token, identity.user_id):
            stored = await self._takeover.take(token, identity.user_id)
        session = self.open_or_resume(identity, socket, token, stored)
        if session.socket is socket and self._resumes.unconfirmed(session):
            self._confirm_when_heard(session, socket)
        return session

    def open_or_resume(
        self, identity: Identity, socket: ClientSocket, token: str | None, stored: SavedSession | None
    ) -> Session:
        """The same without waiting: assign and register happen in one turn. `stored`: what another cell gave up."""
        found = None if token is None else self._resumes.claim(token, identity.user_id) or stored
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
        self._resumes.add(session, None if found is None else token)
        recovered: bool | str = found is not None
        if isinstance(found, SavedSession) and not found.complete:
            recovered = "stale"
        session.send_event(self.cell.codec.ready(session, self.cell.settings.heartbeat_s, recovered))
        if not socket.attach(session):
            session.on_detached()
        return session

    def _confirm_when_heard(self, session: Session, socket: ClientSocket) -> None:
        """Whatever the client sends from now on, it sends after it got the new token: it is asked for a pong."""

        def heard(_: asyncio.Future[None]) -> None:
            if session.socket is socket:  # else it is gone
                self._resumes.confirm(session)

        socket.ask().add_done_callback(heard)
