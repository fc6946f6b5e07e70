"""The cells of other hosts, as far as the store tells of them: each writes down what it says of itself, and reads.

Within a host the bus is faster, so nothing is taken from here about its cells. It must not know SQL.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from msgspec import Struct

from app.control.rollback import Rollbacks
from app.control.state import Desk
from app.control.views import own_census, own_figures
from app.errors import SettingError, StoreUnavailable
from app.fleet.bus import CellFigures, CellReport
from app.store.port import Store, StoredCell

EVERY_S = 1.0
SOON_S = 0.05
"""While a rollback is not verified, others' parts are looked for so often."""
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

    def __init__(self, store: Store, host: str, desk: Desk, rollbacks: Rollbacks) -> None:
        self._store = store
        self._host = host
        self._desk = desk
        self._fleet = desk.fleet
        self._watch = rollbacks.watch
        self._own = asyncio.Event()
        self._watch.on_part = self._own.set

    async def check(self) -> None:
        """Before this cell serves. Raises `SettingError` when a living cell is forced to something else.

        A store that is down cannot tell; then every cell does as its own environment says.
        """
        forced = self._desk.settings.forced
        try:
            cells = await self._store.load_cells()
        except StoreUnavailable:
            return
        for cell in cells:
            report = _read(cell)
            if cell.silent_s < OLD_S and report is not None and report.forced != forced and cell.host != self._host:
                flag = self._desk.settings.flag
                raise SettingError(
                    f"{flag}={_words(forced)}: cell {cell.name} runs with {_words(report.forced)}; "
                    "cells that share a store must agree on it"
                )

    async def run(self) -> None:
        """Write and read until cancelled."""
        while True:
            self._own.clear()
            try:
                await self._save()
                await self.load()
            except StoreUnavailable:
                log.debug("the register of cells cannot be read; what was known ages")
            except Exception:
                log.exception("the register of cells could not be kept")
            try:
                async with asyncio.timeout(EVERY_S if self._watch.complete else SOON_S):
                    await self._own.wait()
            except TimeoutError:
                continue

    async def leave(self) -> None:
        """A planned stop: nobody waits for this cell any more. Raises nothing."""
        try:
            await self._store.remove_cell(self._fleet.name)
        except StoreUnavailable:
            log.warning("this cell stays in the register, because the store does not answer")

    async def _save(self) -> None:
        desk = self._desk
        known = desk.known()
        figures = own_figures(known)
        if self._fleet.on_several_hosts:
            figures = msgspec.structs.replace(figures, census=own_census(known))
        # Also when this cell has seen all parts: the one that puts them together may not have.
        report = msgspec.json.encode(RegisterEntry(figures, self._watch.own_part, desk.settings.forced)).decode()
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
            self._watch.present()
            self._desk.changes.tell()
        if not self._watch.complete:
            receipt = await self._desk.keeper.receipt()
            if receipt is not None and receipt.rollback.verified_at is not None:
                self._watch.hear_receipt("", receipt)

    def _hear(self, cell: StoredCell) -> None:
        report = _read(cell)
        if report is not None:
            self._fleet.learn(cell.name, report.figures)
            if report.part is not None:
                self._watch.hear(cell.name, report.part)


def _read(cell: StoredCell) -> RegisterEntry | None:
    try:
        return msgspec.json.decode(cell.report, type=RegisterEntry)
    except msgspec.MsgspecError:
        return None  # of another version; that it is there counts, and its part will be missed


def _words(forced: bool | None) -> str:
    return "unset" if forced is None else str(forced).lower()
