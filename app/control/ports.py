"""What the control plane needs of others: the cell that it steers, the builds of v3, and the guard that watches it."""

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
        """Take this view for every new decision, and then decide every live session again.

        `rollback` cancels what still runs on v3 at the drain's deadline; `per_second` paces the handovers (0, and
        always for a rollback: at once); without `move_existing` only new connections follow the view.
        """
        ...

    async def verify(self, sweep: Sweep) -> SweepReport:
        """Wait until the rollback's sweep is complete, or overtaken. May be cancelled; the caller sets the limit."""
        ...

    def sessions(self) -> Iterable[SessionView]: ...

    def sessions_of(self, user_id: str) -> list[SessionView]: ...

    def buckets(self) -> Iterable[BucketRow]:
        """One row per connected user, with the bucket kept at admission: nothing is hashed again."""
        ...

    def users_on(self, path: PathName) -> Collection[str]:
        """Users with an open session on a path, each once."""
        ...

    def path_state(self, path: PathName) -> PathState: ...

    def moving(self) -> int:
        """Sessions that wait to be handed over: for the end of a message, or for their turn."""
        ...


class Builds(Protocol):
    """The builds that a cell can serve v3 from. One at a time is prepared, and then adopted or abandoned."""

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
        """Hand v3's sessions to the prepared worker, without closing a socket, and end the old one.

        A worker that has died since, or was never prepared, is prepared now. Raises as `prepare`.
        """
        ...

    async def abandon(self) -> None:
        """End the worker that was or is being prepared, if there is one. Raises nothing."""
        ...

    async def check_way_back(self) -> str | None:
        """Why v2 could not take over v3's sessions with their state, in words for a person; None: it can."""
        ...


class Guard(Protocol):
    """Watches a rollout: one verdict per guardrail, from evidence."""

    def verdicts(self) -> Sequence[VerdictView]:
        """As of the last tick; a guardrail that is missing has no data."""
        ...

    def new_epoch(self, percentage: int) -> None:
        """The share of users changed: the comparison of the paths begins anew."""
        ...


class SessionGiver(Protocol):
    """Gives sessions of this cell to other cells, to which their clients came back."""

    async def session_wanted(self, digest: str) -> bool:
        """Give this session up, if this cell has it; whether it had. Raises `StoreUnavailable`."""
        ...
