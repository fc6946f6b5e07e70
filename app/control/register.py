"""The cells of other hosts, as far as the store tells of them: each writes down what it says of itself, and reads.

Within a host the bus is faster, so nothing is taken from here about its cells. It must not know SQL.
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
"""While a rollback waits for cells of other hosts that speak, their reports are looked for so often."""
FORGOTTEN_S = 3600.0
"""A cell that was not heard of for so long is waited for no longer; until then a person may want to know."""
OLD_S = 30.0
"""The same for one of this host that no process of it is."""
log = structlog.get_logger()


class RegisterEntry(Struct, frozen=True):
    """What a cell says of itself in the register."""

    figures: CellFigures
    part: CellReport | None
    forced: bool | None
    """`USE_WEBSOCKET_SUPERVISOR_V3` where it runs."""


class Register:
    """This cell's entry, and everybody else's."""

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
        """Before this cell serves. Raises `SettingError` when a living cell is forced to something else.

        A store that is down cannot tell; then every cell does as its own environment says.
        """
        forced = self._settings.forced
        try:
            cells = await self._store.load_cells()
        except StoreUnavailable:
            return
        for cell in cells:
            report = _read(cell)
            if cell.silent_s < OLD_S and report is not None and report.forced != forced and cell.host != self._host:
                flag = self._settings.flag
                raise SettingError(
                    f"{flag}={_words(forced)}: cell {cell.name} runs with {_words(report.forced)}; "
                    "cells that share a store must agree on it"
                )

    async def run(self) -> None:
        """Write once a second and whenever this cell has observed more; read as often as `pause_s` says."""
        due_at = 0.0
        while True:
            try:
                if self._observed.is_set() or self._fleet.clock() >= due_at:
                    self._observed.clear()
                    due_at = self._fleet.clock() + REGISTER_EVERY_S
                    await self.save()
                await self.load()
            except StoreUnavailable:
                log.debug("the register of cells cannot be read; what was known ages")
            except Exception:
                log.exception("the register of cells could not be kept")
            with suppress(TimeoutError):
                async with asyncio.timeout(self.pause_s()):
                    await self._observed.wait()

    def pause_s(self) -> float:
        """Until the next reading: short while a rollback waits for a cell of another host that is not silent."""
        waited_for = self._verification.waits_for() - set(self._fleet.names_here())
        return REGISTER_EVERY_S if all(map(self._fleet.silent, waited_for)) else SOON_S

    async def leave(self) -> None:
        """A planned stop: nobody waits for this cell any more. Raises nothing."""
        try:
            await self._store.remove_cell(self._fleet.name)
        except StoreUnavailable:
            log.warning("this cell stays in the register, because the store does not answer")

    async def save(self) -> None:
        """Write down what this cell says of itself. Raises StoreUnavailable."""
        snapshot = self._snapshots.take()
        figures = own_figures(snapshot)
        if self._fleet.on_several_hosts:
            figures = msgspec.structs.replace(figures, census=own_census(snapshot))
        # Also when this cell has seen all parts: the one that puts them together may not have.
        report = msgspec.json.encode(
            RegisterEntry(figures, self._verification.own_report, self._settings.forced)
        ).decode()
        await self._store.save_cell(StoredCell(self._fleet.name, self._host, figures.revision, report))

    async def load(self) -> None:
        """Read who is there, and what they say. Raises StoreUnavailable."""
        here = set(self._fleet.names_here())
        elsewhere: dict[str, float] = {}
        for cell in await self._store.load_cells():
            if cell.name in here:
                continue
            if cell.silent_s > (OLD_S if cell.host == self._host else FORGOTTEN_S):
                log.warning("a cell is waited for no longer", name=cell.name, silent_s=round(cell.silent_s))
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
        report = _read(cell)
        if report is not None:
            self._fleet.learn(cell.name, report.figures)
            if report.part is not None:
                self._verification.hear(cell.name, report.part)


def _read(cell: StoredCell) -> RegisterEntry | None:
    try:
        return msgspec.json.decode(cell.report, type=RegisterEntry)
    except msgspec.MsgspecError:
        return None  # of another version; that it is there counts, and its part will be missed


def _words(forced: bool | None) -> str:
    return "unset" if forced is None else str(forced).lower()
