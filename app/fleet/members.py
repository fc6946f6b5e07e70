"""What this cell knows of the others: who is there, what they said last, and for how long they have been silent."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from time import monotonic

from app.fleet.bus import Bus, CellFigures
from app.metrics.counters import SLOTS
from app.metrics.user_marks import Marks, unpack
from rollout.names import PathName

SILENT_S = 2.0
"""Every cell sends figures once a second; one that was not heard for this long is silent, everywhere it is named."""
REGISTER_EVERY_S = 1.0
"""The register, through which cells of other hosts are heard, is read this often: it may be this old."""


def host_of(cell: str) -> str:
    """The host of a cell, as its name says; empty: the only host there is."""
    return cell.partition("@")[2]


class Fleet:
    """This cell, the cells of its host and, from the register, those of others. `clock` gives monotonic seconds."""

    def __init__(self, name: str, bus: Bus, clock: Callable[[], float] = monotonic) -> None:
        self.name = name
        self.bus = bus
        self.process = secrets.token_hex(4)
        """Names this start of the cell, so that others can tell it from the next one."""
        self.clock = clock
        self._heard_at: dict[str, float] = {}
        self._figures: dict[str, CellFigures] = {}
        self._first: dict[str, list[int]] = {}
        self._gone = [0] * SLOTS
        self._marks: dict[str, dict[PathName, frozenset[int]]] = {}
        self._repeated: dict[PathName, int] = {}
        self._elsewhere: dict[str, float] = {}
        """The cells of other hosts, and when each was heard last."""

    def names(self) -> list[str]:
        """Every cell that has to be heard before anything is called complete, this one included."""
        return sorted({*self.names_here(), *self._elsewhere})

    def names_here(self) -> list[str]:
        """The cells of this host."""
        return sorted({self.name, *self.bus.others()})

    @property
    def alone(self) -> bool:
        """Whether there is no other cell, here or elsewhere."""
        return not self._elsewhere and not any(True for _ in self.bus.others())

    @property
    def on_several_hosts(self) -> bool:
        return bool(self._elsewhere)

    def elsewhere(self, silent_s: Mapping[str, float]) -> bool:
        """Take the cells of other hosts, with how long each has been silent; returns whether cells came or went."""
        changed = silent_s.keys() != self._elsewhere.keys()
        now = self.clock()
        self._elsewhere = {name: now - seconds for name, seconds in silent_s.items()}
        if changed:
            self.present()
        return changed

    def learn(self, cell: str, figures: CellFigures) -> None:
        """Take the figures of a cell of another host; `elsewhere` says how old they are."""
        self._count(cell, figures)

    def hear(self, cell: str, figures: CellFigures | None = None) -> None:
        """This cell was heard just now, perhaps with figures."""
        self._heard_at[cell] = self.clock()
        if figures is not None:
            self._count(cell, figures)
            self._marks[cell] = {path: unpack(marks) for path, marks in figures.marks.items()}

    def present(self) -> None:
        """Cells came or went: one that is gone has no sessions, and a new one's silence counts from now."""
        others = set(self.bus.others())
        for name in set(self._figures) - others - set(self._elsewhere):
            self._keep(name)
            del self._figures[name]
            self._marks.pop(name, None)
        if not self._marks:
            self._repeated = {}
        self._heard_at = {name: self._heard_at.get(name, self.clock()) for name in others}

    def others(self) -> Mapping[str, CellFigures]:
        """The last figures of the other cells."""
        return self._figures

    def silent_s(self, cell: str) -> float:
        """Seconds since this cell was heard; 0 for this process's own."""
        if cell == self.name:
            return 0.0
        heard_at = self._heard_at.get(cell, self._elsewhere.get(cell))
        return 0.0 if heard_at is None else self.clock() - heard_at

    def silent(self, cell: str) -> bool:
        """Whether this cell was not heard for too long. Everything that names silent cells goes by this."""
        return self.silent_s(cell) >= SILENT_S + (REGISTER_EVERY_S if cell in self._elsewhere else 0.0)

    # -- users with sockets in two cells of this host: the first of these counts them ---------------------------------

    def counted_elsewhere(self) -> dict[PathName, set[int]]:
        """The marks of users whom an earlier cell counts, by path; empty: there is no earlier cell."""
        counted: dict[PathName, set[int]] = {}
        for name, by_path in self._marks.items():
            if name < self.name:
                for path, marks in by_path.items():
                    counted.setdefault(path, set()).update(marks)
        return counted

    def compare(self, own: Mapping[PathName, Marks]) -> None:
        """Count again how many of this cell's users an earlier cell counts."""
        elsewhere = self.counted_elsewhere()
        self._repeated = {path: len(elsewhere[path] & unpack(own[path])) for path in elsewhere}

    def repeated(self, path: PathName) -> int:
        """Users of this cell whom an earlier cell counts, as of the last `compare`."""
        return self._repeated.get(path, 0)

    # -- counters -----------------------------------------------------------------------------------------------------

    def slots(self, own: list[int]) -> list[int]:
        """This cell's counters, and what the others have counted since they were first heard: they only grow.

        What a cell has counted before it died stays counted.
        """
        if not self._figures and not any(self._gone):
            return own
        total = [mine + gone for mine, gone in zip(own, self._gone, strict=True)]
        for name, figures in self._figures.items():
            for index, (last, first) in enumerate(zip(figures.slots, self._first[name], strict=True)):
                total[index] += last - first
        return total

    def _count(self, cell: str, figures: CellFigures) -> None:
        before = self._figures.get(cell)
        if before is not None and before.process != figures.process:
            self._keep(cell)
        self._first.setdefault(cell, figures.slots)
        self._figures[cell] = figures

    def _keep(self, cell: str) -> None:
        first, last = self._first.pop(cell), self._figures[cell].slots
        self._gone = [gone + new - old for gone, new, old in zip(self._gone, last, first, strict=True)]
