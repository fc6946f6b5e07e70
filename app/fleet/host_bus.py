"""A cell's end of the host bus: messages into posts for the parent, posts into messages."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable

import msgspec
import structlog

from app.errors import LinkError
from app.fleet.bus import BusListener, BusMessage, CellFigures
from app.fleet.frames import Greet, Post, Present, Serving, ToCell
from app.link.link import Link

log = structlog.get_logger()


class HostBus:
    """Implements `app.fleet.bus.Bus`. `open` it in the event loop; until then nothing is sent or heard."""

    def __init__(self, name: str, connected: socket.socket) -> None:
        self._name = name
        self._connected = connected
        self._others: tuple[str, ...] = ()
        self._heard_at = time.monotonic()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[BusMessage] = msgspec.msgpack.Decoder(BusMessage)
        self._link: Link[ToCell] | None = None
        self._listener: BusListener | None = None
        self.greet = asyncio.Event()
        """Set when this cell is to tell whoever started the service where to look."""

    def open(self, listener: BusListener) -> None:
        self._listener = listener
        self._link = Link(self._connected, ToCell, on_frames=self._hear, on_closed=self._closed)

    def others(self) -> Iterable[str]:
        return self._others

    def tell(self, message: BusMessage, to: str = "") -> None:
        # Also when no other cell serves yet: one that is starting has to hear of a lock.
        self._say(Post(self._name, to, self._encoder.encode(message), not isinstance(message, CellFigures)))

    def serving(self) -> None:
        """Tell the parent that this cell accepts sockets from now on."""
        self._say(Serving())

    def read(self) -> None:
        if self._link is not None:
            self._link.read()

    def find(self, message: BusMessage) -> None:
        if self._listener is not None:
            self._listener.hear("", message)

    def silent_s(self) -> float:
        return time.monotonic() - self._heard_at

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    def _say(self, frame: Post | Serving) -> None:
        if self._link is not None:
            self._link.send(frame)
            self._link.flush()

    def _hear(self, frames: list[ToCell]) -> None:
        self._heard_at = time.monotonic()
        for frame in frames:
            try:
                match frame:
                    case Post():
                        assert self._listener is not None  # the link is opened with its listener
                        self._listener.hear(frame.sender, self._decoder.decode(frame.body))
                    case Present():
                        self._present(frame)
                    case Greet():
                        self.greet.set()
            except Exception:
                # The next message may be a lock, so it is heard even if this one fails.
                log.exception("a message of the host bus could not be handled")

    def _present(self, present: Present) -> None:
        others = tuple(name for name in present.names if name != self._name)
        if others != self._others:
            self._others = others
            if self._listener is not None:
                self._listener.present()

    def _closed(self, error: LinkError | None) -> None:
        """The parent is gone, and this process is about to be."""
        if error is not None:
            log.error("the host bus is broken", error=str(error))
