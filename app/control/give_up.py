"""Gives up a cell that died for good, when a person says so.

It is audited, and the receipt of a rollback that waited for the cell names it.
"""

from __future__ import annotations

from typing import Final

from app.control.register import Register
from app.control.repository import Repository
from app.control.snapshots import Snapshots
from app.control.state import State
from app.errors import CellStillThere, UnknownCell
from app.fleet.members import Fleet
from app.store.port import Store
from rollout.errors import ReasonMissing
from rollout.events import Actor, Audit
from rollout.permissions import require
from rollout.views import AuditFilter, GivenUp, RollbackView

GIVE_UP_AFTER_S: Final = 30.0
"""A person may give up a cell that was not heard for this long. One that lives and only lost the store has served v2
since 10 s of silence (`partition.CUT_OFF_S`), and a paused host or the fail-over of a database is over by then."""
CLOCKS_S: Final = 5.0
"""How far the clocks of two hosts may differ."""
WHAT: Final = "forget cell "


class GivingUp:
    """Gives up cells for a person. Without a `register` there are no other hosts."""

    def __init__(
        self,
        *,
        store: Store,
        fleet: Fleet,
        state: State,
        repository: Repository,
        snapshots: Snapshots,
        register: Register | None,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._state = state
        self._repository = repository
        self._snapshots = snapshots
        self._register = register

    async def forget(self, actor: Actor, name: str, reason: str, source: str) -> None:
        """Stop waiting for this cell until it registers again.

        Raises NotAllowed, ReasonMissing, UnknownCell, CellStillThere and StoreUnavailable.
        """
        require(actor, "forget")
        if not reason.strip():
            raise ReasonMissing("forget")
        if name in self._fleet.names_here():
            raise CellStillThere(f"cell {name} is on this host and its process runs; a cell that dies is started again")
        cell = next((cell for cell in await self._store.load_cells() if cell.name == name), None)
        if cell is None:
            raise UnknownCell(f"there is no cell {name!r}; there are {', '.join(self._fleet.names())}")
        if cell.silent_s < GIVE_UP_AFTER_S:
            heard = f"cell {name} was heard {cell.silent_s:.0f} s ago"
            raise CellStillThere(f"{heard}; it can be given up after {GIVE_UP_AFTER_S:.0f} s of silence")
        # The audit first, so that it never lacks a cell that is no longer waited for.
        audit = Audit(actor, WHAT + name, reason)
        await self._repository.append(self._snapshots.entry(audit, source, self._state.record))
        await self._store.remove_cell(name)
        if self._register is not None:
            await self._register.load()

    async def during(self, rollback: RollbackView) -> list[GivenUp]:
        """The cells that were given up while this rollback waited. Raises StoreUnavailable."""
        until = None if rollback.verified_at is None else rollback.verified_at + CLOCKS_S
        of_cells = AuditFilter(what=WHAT, since=rollback.at, until=until)
        entries = reversed((await self._repository.events(wanted=of_cells)).items)
        return [
            GivenUp(cell=cell, by=entry.who, at=entry.at, reason=entry.reason)
            for entry in entries
            if entry.what.startswith(WHAT) and (cell := entry.what.removeprefix(WHAT)) not in rollback.cells
        ]
