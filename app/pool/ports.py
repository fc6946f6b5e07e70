"""What the gateway is told about the workers of a path, and what it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.link.frames import Traffic
from app.pool.death import Death
from rollout.names import PathName

if TYPE_CHECKING:
    from app.pool.handle import WorkerHandle


class PathEvents(Protocol):
    """Implemented by the gateway. All calls are made in its event loop and must not wait for anything."""

    def path_up(self, path: PathName, worker: WorkerHandle) -> None:
        """This worker serves the path from now on: the first, a restarted, or an adopted one."""
        ...

    def path_unavailable(self, path: PathName, reason: str, restarts: int) -> None:
        """Nobody serves this path until the next `path_up`; `reason` is for a person. Said again when it changes.

        After a death it comes before the `path_down` of the worker that served.
        """
        ...

    def path_frames(self, path: PathName, frames: list[Traffic]) -> None:
        """All frames of one read, in the order in which the worker sent them; never empty."""
        ...

    def path_down(self, path: PathName, worker: WorkerHandle, death: Death) -> None:
        """This worker is gone; every byte it ever sent has been handed over before.

        `worker` may be an old one beside the one that serves (reason `replaced`, or it died before it was stopped).
        """
        ...

    def oldest_unstarted_s(self, path: PathName) -> float:
        """Seconds since the oldest `Run` that this path's serving worker has not answered with `Started`; 0: none."""
        ...
