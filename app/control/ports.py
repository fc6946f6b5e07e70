"""Where the control loop meets the gateway: what a cell can be told and asked, and the values that cross.

Whoever implements `CellPort` needs nothing else of `app.control`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from app.gateway.ports import BucketRow
from app.gateway.sweep import Sweep, SweepReport
from app.pool.state import PathState
from rollout.assign import View
from rollout.builds import Served
from rollout.names import PathName
from rollout.views import Loaded, SessionView, VerdictView


class CellPort(Protocol):
    """One gateway with its path workers. All calls but `verify` are synchronous and take at most milliseconds."""

    @property
    def name(self) -> str: ...

    def apply(self, view: View, *, rollback: bool = False, per_second: int = 0, move_existing: bool = True) -> Sweep:
        """Take this view for every new decision, then decide every live session again, in this order.

        `rollback` cancels what still runs on v3 at the drain's deadline; `per_second` paces the handovers (0: at
        once, and always so for a rollback); without `move_existing` only new connections follow the view.
        """
        ...

    async def verify(self, sweep: Sweep) -> SweepReport:
        """Wait until that rollback was seen complete, or was overtaken. May be cancelled; a caller sets the limit."""
        ...

    def sessions(self) -> Iterable[SessionView]: ...

    def sessions_of(self, user_id: str) -> list[SessionView]: ...

    def buckets(self) -> Iterable[BucketRow]:
        """One row per connected user; the bucket is the one kept at admission, nothing is hashed again."""
        ...

    def users_on(self, path: PathName) -> Collection[str]:
        """Users with an open session on a path, each once."""
        ...

    def path_state(self, path: PathName) -> PathState: ...

    def moving(self) -> int:
        """Sessions that still wait for the end of a message, or for their turn, to be handed over."""
        ...


class Builds(Protocol):
    """The builds that a cell can serve v3 from. One at a time is prepared, then adopted or abandoned."""

    async def start(self, served: Mapping[PathName, Served]) -> None:
        """Start these paths. Raises `FactoryError` when v2 does not start; a v3 that does not start is unavailable."""
        ...

    async def prepare(self, factory: str, python: str, build: str | None) -> str:
        """Start and check a worker beside the one that serves; the build's id.

        Without `python` it runs in the service's own interpreter; without `build` it makes the id of its code.
        Raises `FactoryError` or `StateIncompatible`; nothing has changed then.
        """
        ...

    async def adopt(self, factory: str, python: str, build: str) -> Loaded:
        """Hand v3's sessions to the worker that was prepared, without closing a socket, and end the old one.

        One that has died since, or was never prepared, is prepared now. Raises as `prepare`.
        """
        ...

    async def abandon(self) -> None:
        """End the worker that was, or is being, prepared; none: nothing to do. Raises nothing."""
        ...

    async def check_way_back(self) -> str | None:
        """Why v2 could not take v3's sessions over with their state, for a person; None: it can."""
        ...


class Guard(Protocol):
    """What watches a rollout: one verdict per guardrail, from evidence."""

    def verdicts(self) -> Sequence[VerdictView]:
        """As of the last tick; a guardrail that is missing has no data."""
        ...

    def new_epoch(self, percentage: int) -> None:
        """The share of users changed: what compares the paths begins anew."""
        ...
