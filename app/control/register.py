"""The register of cells in the store, by which cells of different hosts know each other: each writes its own entry.

Nothing is read from it about cells of the same host, because the bus is faster.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import structlog
from msgspec import Struct

from app.control.notifier import Notifier
from app.control.repository import Repository
from app.control.snapshots import Snapshots
from app.control.verification import Verification
from app.control.views import own_census, own_figures
from app.errors import SettingError, StoreUnavailable
from app.fleet.bus import CellFigures, CellReport
from app.fleet.members import REGISTER_EVERY_S, Fleet
from app.settings import Settings
from app.store.port import Store, StoredCell

SOON_S = 0.05
"""How often the register is read while a rollback waits for cells of other hosts that are not silent."""
FORGOTTEN_S = 3600.0
"""A cell that was silent for this long is no longer waited for; until then a person may want to know of it."""
OLD_S = 30.0
"""The same for a cell of this host that has no process."""
log = structlog.get_logger()


class RegisterEntry(Struct, frozen=True):
    """What a cell says of itself in the register."""

    figures: CellFigures
    report: CellReport | None
    """What it has observed of the rollback in force; None: nothing."""
    forced: bool | None
    """`USE_WEBSOCKET_SUPERVISOR_V3` where it runs."""


class Register:
    """Writes this cell's entry and reads those of the others."""

    def __init__(
        self,
        *,
        store: Store,
        host: str,
        fleet: Fleet,
        repository: Repository,
        verification: Verification,
        snapshots: Snapshots,
        notifier: Notifier,
        settings: Settings,
        observed: asyncio.Event,
    ) -> None:
        """`observed` is set when this cell has observed more of a rollback."""
        self._store = store
        self._host = host
        self._fleet = fleet
        self._repository = repository
        self._verification = verification
        self._snapshots = snapshots
        self._notifier = notifier
        self._settings = settings
        self._observed = observed

    async def check(self) -> None:
        """Call before this cell serves. Raises `SettingError` when a living cell is forced to something else.

        While the store is down nobody can tell; then every cell goes by its own environment.
        """
        forced = self._settings.forced
        try:
            cells = await self._store.load_cells()
        except StoreUnavailable:
            return
        for cell in cells:
            entry = _read(cell)
            if cell.silent_s < OLD_S and entry is not None and entry.forced != forced and cell.host != self._host:
                flag = self._settings.flag
                raise SettingError(
                    f"{flag}={_words(forced)}: cell {cell.name} runs with {_words(entry.forced)}; "
                    "cells that share a store must agree on it"
                )

    async def run(self) -> None:
        """Write once a second and whenever this cell has observed more, and read as often as `pause_s` says."""
        due_at = 0.0
        while True:
            try:
                if self._observed.is_set() or self._fleet.clock() >= due_at:
                    self._observed.clear()
                    due_at = self._fleet.clock() + REGISTER_EVERY_S
                    await self.save()
                await self.load()
            except StoreUnavailable:
                log.debug("the register of cells cannot be reached")
            except Exception:
                log.exception("reading or writing the register of cells failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(self.pause_s()):
                    await self._observed.wait()

    def pause_s(self) -> float:
        """Seconds until the next reading: few while a rollback waits for a cell of another host that is not silent."""
        waited_for = self._verification.waits_for() - set(self._fleet.names_here())
        return REGISTER_EVERY_S if all(map(self._fleet.silent, waited_for)) else SOON_S

    async def leave(self) -> None:
        """Remove this cell at a planned stop, so that nobody waits for it. Raises nothing."""
        try:
            await self._store.remove_cell(self._fleet.name)
        except StoreUnavailable:
            log.warning("this cell stays in the register, because the store does not answer")

    async def save(self) -> None:
        """Write this cell's entry. Raises StoreUnavailable."""
        snapshot = self._snapshots.take()
        figures = own_figures(snapshot)
        if self._fleet.on_several_hosts:
            figures = msgspec.structs.replace(figures, census=own_census(snapshot))
        # The report stays in it when the rollback is verified here: the cell that adds up may not have read it yet.
        entry = RegisterEntry(figures, self._verification.own_report, self._settings.forced)
        text = msgspec.json.encode(entry).decode()
        await self._store.save_cell(StoredCell(self._fleet.name, self._host, figures.revision, text))

    async def load(self) -> None:
        """Read the entries of the other hosts' cells, and drop cells that are gone. Raises StoreUnavailable."""
        here = set(self._fleet.names_here())
        elsewhere: dict[str, float] = {}
        for cell in await self._store.load_cells():
            if cell.name in here:
                continue
            if cell.silent_s > (OLD_S if cell.host == self._host else FORGOTTEN_S):
                log.warning("a cell is no longer waited for", name=cell.name, silent_s=round(cell.silent_s))
                await self._store.remove_cell(cell.name)
            elif cell.host != self._host:
                elsewhere[cell.name] = cell.silent_s
                self._hear(cell)
        if self._fleet.elsewhere(elsewhere):
            self._verification.present()
            self._notifier.tell()
        if not self._verification.complete:
            receipt = await self._repository.receipt()
            if receipt is not None and receipt.rollback.verified_at is not None:
                self._verification.hear_receipt(receipt)

    def _hear(self, cell: StoredCell) -> None:
        entry = _read(cell)
        if entry is not None:
            self._fleet.learn(cell.name, entry.figures)
            if entry.report is not None:
                self._verification.hear(cell.name, entry.report)


def _read(cell: StoredCell) -> RegisterEntry | None:
    try:
        return msgspec.json.decode(cell.report, type=RegisterEntry)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None  # of another version: the cell counts as being there, and its report as missing


def _words(forced: bool | None) -> str:
    return "unset" if forced is None else str(forced).lower()
