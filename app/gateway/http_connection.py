"""uvicorn's HTTP class, bounded: head and framing of a request are read before its parser sees them, one request at a
time, and every wait for a client has an end. A connection that becomes a WebSocket leaves nothing of it behind.
"""

from __future__ import annotations

import socket
from asyncio import Transport
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request

from app.gateway.addresses import network_of
from app.gateway.connection import Connection
from app.gateway.connection_registry import ConnectionRegistry, Stage
from app.gateway.request_head import RequestRefused
from app.gateway.request_reader import RequestReader
from app.problem import MEDIA_TYPE, encode_problem, problem_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from uvicorn.config import Config
    from uvicorn.server import ServerState

AHEAD_BYTES = 64 * 1024
"""What a client may send of its next requests while one is answered; with more, the connection ends with the answer."""
UNREAD_BYTES = 1024 * 1024
"""What is thrown away after a refusal, so that the client gets to read it, before the connection is cut."""
FULL = RequestRefused(503, "there are too many connections; try again later")
NO_WEBSOCKETS = RequestRefused(404, "no WebSockets are served here")
NO_REQUEST = RequestRefused(400, "this is no HTTP request")


class ReadGate(FlowControl):
    """uvicorn's control of reading, which a connection can also shut against what its application asks for."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._shut = False

    def shut(self) -> None:
        self._shut = True
        self.pause_reading()

    def open(self) -> None:
        self._shut = False
        self.resume_reading()

    def resume_reading(self) -> None:
        if not self._shut:
            super().resume_reading()


class Answering:
    """The transport as the answer to a request with a body sees it: its `close` lets the client read the answer."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        self._connection.end()


class HttpConnection(HttpToolsProtocol):
    """For `Config(http=partial(HttpConnection, registry=…))`; `registry` is the cell's."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
        *,
        registry: ConnectionRegistry,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address: str | None = None
        self._registry = registry
        self._reader = RequestReader()
        self._gate: ReadGate = None  # type: ignore[assignment]  # with the transport
        self._keep_alive = True
        """Whether the connection is to outlive its request; until that is whole, it is not."""
        self._overrun = False
        """Whether more came ahead of its turn than is kept; the connection ends with the answer."""
        self._ending = False
        self._unread_bytes = 0

    # -- the transport's side -----------------------------------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = self._gate = ReadGate(transport)
        if transport.get_extra_info("socket").family != socket.AF_UNIX:
            self.address = network_of(self.client[0] if self.client else "")
        if not self._registry.opened(self):
            self._answer(FULL)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._registry.lost(self)
        self._reader.take_rest()
        if self.cycle is not None:
            self.cycle.transport = self.transport  # a reference cycle otherwise

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if self._ending:
            self._throw_away(data)
            return
        fresh = not reader.begun
        reader.receive(data)
        self._advance()
        if fresh:
            self._wait_for_the_rest()

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._ending and self._reader.whole:
            self._registry.enter(self, Stage.STALLED)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._ending and self._reader.whole:
            self._registry.leave(self)

    # -- the parser's side --------------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._reader.upgrades or self._reader.whole:
            return
        cycle = self.cycle
        self._keep_alive, cycle.keep_alive = cycle.keep_alive, False
        cycle.transport = cast("Transport", Answering(self))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle = self.cycle
        if self._reader.upgrades or cycle.response_complete:
            return
        self._registry.leave(self)
        if isinstance(cycle.transport, Answering) and not cycle.response_started:
            cycle.keep_alive = self._keep_alive

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._ending:
            return
        if self.transport.is_closing():
            self._registry.enter(self, Stage.STALLED)  # until the client has read it
            return
        self._reader.next_request()
        self._gate.open()
        if self._reader.begun:
            self._advance()
            self._wait_for_the_rest()
        else:
            self._registry.enter(self, Stage.IDLE)

    def handle_websocket_upgrade(self) -> None:
        if self.ws_protocol_class is None:
            self._refuse(NO_WEBSOCKETS)
            return
        if self._registry.full and self.address is not None:
            self._refuse(FULL)
            return
        self.connections.discard(self)
        connection_class = cast("type[Connection]", self.ws_protocol_class)
        connection = connection_class(
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
            gone=self._registry.upgraded(self),
        )
        connection.connection_made(self.transport)
        headers = Headers((name.decode(), value.decode("latin-1")) for name, value in self.headers)
        connection.open(Request(self.url.decode(), headers))
        self.transport.set_protocol(connection)
        early = self._reader.take_rest()
        if early and not self.transport.is_closing():
            connection.data_received(early)
        self.parser = None  # type: ignore[assignment]  # a reference cycle otherwise

    # -- the registry's side ------------------------------------------------------------------------------------------

    def expire(self, stage: Stage) -> None:
        if stage is Stage.RECEIVING:
            self._refuse(RequestRefused(408, f"a request must be whole in {self._registry.limits.request_s:g} s"))
        elif stage in (Stage.STALLED, Stage.ENDING) or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def give_way(self) -> None:
        if self._ending or self.transport.get_write_buffer_size():
            self.transport.abort()
            return
        if self._reader.begun:
            self._answer(FULL)
        self.transport.close()

    def shutdown(self) -> None:
        self._keep_alive = False
        super().shutdown()

    # -- how it ends --------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """No more is sent or read as a request; the client has a moment to read what it was sent."""
        if self._ending:
            return
        if self._reader.whole and not self._reader.buffered_bytes and not self._overrun:
            self.transport.close()
            return
        self._ending = True
        self._reader.take_rest()
        if self.transport.is_closing():
            return
        self._registry.enter(self, Stage.ENDING)
        self.transport.write_eof()
        self._gate.open()

    def _refuse(self, refused: RequestRefused) -> None:
        if not self.transport.is_closing():
            self._answer(refused)
            self.end()

    def _answer(self, refused: RequestRefused) -> None:
        """Answer what the application has not answered; from now on it finds that the client is gone."""
        cycle = self.cycle
        begun = cycle is not None and not cycle.response_complete
        if begun:
            cycle.disconnected = True
            cycle.message_event.set()
        if not begun or not cycle.response_started:
            self.transport.write(_encode(refused))

    def _throw_away(self, data: bytes) -> None:
        self._unread_bytes += len(data)
        if self._unread_bytes > UNREAD_BYTES:
            self.transport.abort()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Pass on what there is of a request."""
        try:
            while not self._ending and (part := self._reader.next_part()) is not None:
                self.parser.feed_data(part)
        except RequestRefused as refused:
            self._refuse(refused)
        except httptools.HttpParserUpgrade:
            self.handle_websocket_upgrade()
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, (httptools.HttpParserInvalidURLError, UnicodeError)):
                raise
            self._refuse(NO_REQUEST)
        except httptools.HttpParserError:
            self._refuse(NO_REQUEST)
        else:
            if self._reader.whole and self._reader.buffered_bytes and not self._ending:
                self._wait_with_the_next()

    def _wait_for_the_rest(self) -> None:
        """A request has begun; mostly it is whole already."""
        if not self._reader.whole and not self._ending:
            self._registry.enter(self, Stage.RECEIVING)

    def _wait_with_the_next(self) -> None:
        """A request is answered, and more came already."""
        self._gate.shut()
        if self._reader.buffered_bytes > AHEAD_BYTES:
            self._overrun = True
            self._reader.take_rest()
            self.cycle.keep_alive = False
            self.cycle.transport = cast("Transport", Answering(self))


def _encode(refused: RequestRefused) -> bytes:
    body = encode_problem(problem_of(refused.status, refused.words))
    retry = "Retry-After: 1\r\n" if refused.status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\nContent-Type: {MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n"
    )
    return head.encode() + body
