"""Giving up a cell that died for good: by a person, audited, and named in the receipt of a rollback that waited for it.

What is verified without that cell is for the verification to say.
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
"""A person may give a cell up when it was not heard for this long. A cell that lives and only lost the store serves v2
after 10 s of that (`partition.CUT_OFF_S`), and by then a paused host or a database's fail-over is over."""
CLOCKS_S: Final = 5.0
"""The clocks of two hosts may differ by so much."""
WHAT: Final = "forget cell "


class GivingUp:
    """Cells that a person gives up. Without a `register` there are no other hosts."""

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
        """Nobody waits for this cell any more, until it registers again.

        Raises NotAllowed, ReasonMissing, UnknownCell, CellStillThere and StoreUnavailable.
        """
        require(actor, "forget")
        if not reason.strip():
            raise ReasonMissing("forget")
        if name in self._fleet.names_here():
            raise CellStillThere(
                f"cell {name} is on this host and its process is there; one that dies is started again"
            )
        found = next((cell for cell in await self._store.load_cells() if cell.name == name), None)
        if found is None:
            raise UnknownCell(f"there is no cell {name!r}; there are {', '.join(self._fleet.names())}")
        if found.silent_s < GIVE_UP_AFTER_S:
            heard = f"cell {name} was heard {found.silent_s:.0f} s ago"
            raise CellStillThere(f"{heard}; it can be given up after {GIVE_UP_AFTER_S:.0f} s of silence")
        # The audit first: what is not waited for must never be missing there.
        audit = Audit(actor, WHAT + name, reason)
        await self._repository.append(self._snapshots.entry(audit, source, self._state.record))
        await self._store.remove_cell(name)
        if self._register is not None:
            await self._register.load()

    async def during(self, rollback: RollbackView) -> list[GivenUp]:
        """The cells that were given up while this rollback waited. Raises StoreUnavailable."""
        until = None if rollback.verified_at is None else rollback.verified_at + CLOCKS_S
        wanted = AuditFilter(what=WHAT, since=rollback.at, until=until)
        entries = reversed((await self._repository.events(wanted=wanted)).items)
        return [
            GivenUp(cell=cell, by=entry.who, at=entry.at, reason=entry.reason)
            for entry in entries
            if entry.what.startswith(WHAT) and (cell := entry.what.removeprefix(WHAT)) not in rollback.cells
        ]
