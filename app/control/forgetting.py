"""Giving up a cell that died for good: by a person, audited, and named in the receipt of a rollback that waited for it.

It must not say what is verified without that cell; the watch does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from app.control.state import Desk
from app.errors import CellStillThere, UnknownCell
from app.store.port import Store
from rollout.errors import ReasonMissing
from rollout.events import Actor, Audit
from rollout.permissions import require
from rollout.views import AuditFilter, GivenUp, RollbackView

SILENT_S: Final = 30.0
"""How long a cell must not have been heard of. One that lives and only lost the store serves v2 after 10 s of that
(`exchange.CUT_OFF_S`), and a paused host or a database's fail-over is over by then."""
CLOCKS_S: Final = 5.0
"""The clocks of two hosts may differ by so much."""
WHAT: Final = "forget cell "


class Forgetting:
    """`look` reads the register again."""

    def __init__(self, store: Store, desk: Desk, look: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._desk = desk
        self._look = look

    async def forget(self, actor: Actor, name: str, reason: str, source: str) -> None:
        """Nobody waits for this cell any more, until it registers again.

        Raises NotAllowed, ReasonMissing, UnknownCell, CellStillThere and StoreUnavailable.
        """
        require(actor, "forget")
        if not reason.strip():
            raise ReasonMissing("forget")
        fleet, state = self._desk.fleet, self._desk.force.state
        if name in fleet.names_here():
            raise CellStillThere(
                f"cell {name} is on this host and its process is there; one that dies is started again"
            )
        found = next((cell for cell in await self._store.load_cells() if cell.name == name), None)
        if found is None:
            raise UnknownCell(f"there is no cell {name!r}; there are {', '.join(fleet.names())}")
        if found.silent_s < SILENT_S:
            heard = f"cell {name} was heard {found.silent_s:.0f} s ago"
            raise CellStillThere(f"{heard}; it can be given up after {SILENT_S:.0f} s of silence")
        # The audit first: what is not waited for must never be missing there.
        await self._desk.keeper.append(self._desk.entry(Audit(actor, WHAT + name, reason), source, state, state))
        await self._store.remove_cell(name)
        await self._look()

    async def during(self, rollback: RollbackView) -> list[GivenUp]:
        """The cells that were given up while this rollback waited. Raises StoreUnavailable."""
        until = None if rollback.verified_at is None else rollback.verified_at + CLOCKS_S
        wanted = AuditFilter(what=WHAT, since=rollback.at, until=until)
        entries = reversed((await self._desk.keeper.events(wanted=wanted)).items)
        return [
            GivenUp(cell=cell, by=entry.who, at=entry.at, reason=entry.reason)
            for entry in entries
            if entry.what.startswith(WHAT) and (cell := entry.what.removeprefix(WHAT)) not in rollback.cells
        ]
