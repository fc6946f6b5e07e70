"""The parent's end of the host bus: carries posts from cell to cell, unread, and says who is there."""

from __future__ import annotations

import socket
from collections.abc import Callable

from app.errors import LinkError
from app.fleet.frames import Greet, Post, Present, Serving, ToCell, ToParent
from app.link.link import Link


class Hub:
    """The links to all living cells. A cell is present from `Serving` until its process is gone."""

    def __init__(
        self,
        on_serving: Callable[[str], None],
        on_broken: Callable[[str, LinkError], None],
    ) -> None:
        """`on_broken` is told of a cell whose link is broken: it has to be ended, and is present until it has."""
        self._links: dict[str, Link[ToParent]] = {}
        self._serving: set[str] = set()
        self._on_serving = on_serving
        self._on_broken = on_broken

    def connect(self, name: str, connected: socket.socket) -> None:
        """Take the link of a new process of this cell; an earlier one is gone."""
        self.disconnect(name)
        self._links[name] = Link(
            connected,
            ToParent,
            on_frames=lambda frames: self._hear(name, frames),
            on_closed=lambda error: self._closed(name, error),
        )

    def disconnect(self, name: str) -> None:
        """Drop the link of a cell whose process is gone."""
        link = self._links.pop(name, None)
        if link is not None:
            link.close()
        if name in self._serving:
            self._serving.discard(name)
            self.announce()

    def announce(self) -> None:
        """Tell all cells who is there."""
        present = Present(sorted(self._serving))
        for link in self._links.values():
            self._send(link, present, must=False)

    def greet(self, name: str) -> None:
        """Ask this cell to greet whoever started the service."""
        if name in self._links:
            self._send(self._links[name], Greet(), must=True)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

    def _hear(self, name: str, frames: list[ToParent]) -> None:
        for frame in frames:
            match frame:
                case Post():
                    self._carry(name, frame)
                case Serving():
                    self._serving.add(name)
                    self.announce()
                    self._on_serving(name)

    def _carry(self, sender: str, post: Post) -> None:
        for name, link in list(self._links.items()):
            if name != sender and post.to in ("", name):
                self._send(link, post, must=post.must)

    @staticmethod
    def _send(link: Link[ToParent], frame: ToCell, *, must: bool) -> None:
        # Figures for a cell that does not read are dropped, so that they do not fill this process.
        if must or link.flush():
            link.send(frame)
            link.flush()

    def _closed(self, name: str, error: LinkError | None) -> None:
        """The link has ended. Whether the process is gone too, its watcher says with `disconnect`."""
        if error is not None:
            self._on_broken(name, error)
