"""What the cells of a host tell each other, and the narrow bus that they tell it over.

Values and protocols; must not know sockets, nor what a cell makes of a message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeAlias

from msgspec import Struct

from app.fleet.census import Census
from app.metrics.counters import Tally
from app.metrics.error_groups import GroupCount
from app.metrics.user_marks import Marks
from app.pool.state import PathState
from rollout.builds import Source
from rollout.names import PathName, Phase
from rollout.state import Lock
from rollout.views import VerdictView


class Changed(Struct, frozen=True, array_like=True, tag="changed"):
    """This record was saved; lower revisions than one's own are ignored. `pins`: the pins were changed too."""

    revision: int
    text: str
    pins: bool = False


class Locked(Struct, frozen=True, array_like=True, tag="locked"):
    """A rollback is in force in the cell that says so, and on the disk; whether the store has it is open."""

    lock: Lock


class CellReport(Struct, frozen=True, array_like=True, tag="part"):
    """What one cell has observed of a rollback: it is in force there, and perhaps more."""

    rollback: str
    """Id of the rollback, as in its receipt."""
    to_move: int
    moved: int
    closed: int
    interrupted: int
    done: bool
    """Its registry was empty of v3, nobody was admitted to v3 since, and v3's worker then said zero or was dead."""
    errors: list[GroupCount] = []
    """All its error groups when the rollback came."""
    leader: str = ""
    """The cell that was given the command and puts all parts together, as far as known: other hosts learn it here."""


class ReceiptSeen(Struct, frozen=True, array_like=True, tag="receipt"):
    """What the cell that leads a rollback's verification knows of it, as JSON of `app.control.receipt.Receipt`."""

    receipt: bytes


class CellFigures(Struct, frozen=True, array_like=True, tag="figures"):
    """One cell at one moment; said once a second and on every change."""

    process: str
    """Of one start of the cell: its counters begin anew with the next."""
    revision: int
    locked: bool
    percentage: int
    phase: Phase
    flag_age_s: float
    paths: dict[PathName, PathState]
    tallies: dict[PathName, Tally]
    slots: list[int]
    """As `app.metrics.counters` lays them out."""
    moving: int
    verdicts: list[VerdictView]
    marks: dict[PathName, Marks] = {}
    """Its users by path, for the other cells of its host; `paths` has those that no earlier one of them counts."""
    census: Census | None = None
    """The same for previews, for cells of other hosts; those of this one ask."""
    settings: dict[PathName, Source] = {}
    """What its own settings say of each path, whatever was loaded."""


class Ask(Struct, frozen=True, array_like=True, tag="ask"):
    """A question to all; `question` is one of `app.control.queries`."""

    number: int
    question: bytes


class Answer(Struct, frozen=True, array_like=True, tag="answer"):
    number: int
    body: bytes
    refusal: str = ""


BusMessage: TypeAlias = Changed | Locked | CellReport | ReceiptSeen | CellFigures | Ask | Answer


class BusListener(Protocol):
    """Who hears what the bus brings; called in the event loop's thread."""

    def hear(self, sender: str, message: BusMessage) -> None:
        """A message of another cell; `sender` empty: it was found, and nobody is known to have said it."""
        ...

    def present(self) -> None:
        """`Bus.others` has changed."""
        ...


class Bus(Protocol):
    """The cells of this host. All calls are synchronous and take microseconds."""

    def open(self, listener: BusListener) -> None:
        """Hear from now on, and what was said since the process was started. Until then nothing is said or heard."""
        ...

    def others(self) -> Iterable[str]:
        """Every other cell of this host that serves or stands still; not one whose process is gone."""
        ...

    def tell(self, message: BusMessage, to: str = "") -> None:
        """Give a message to one cell, or to all others; it is in the kernel's hands when this returns."""
        ...

    def read(self) -> None:
        """Hear now what lies in the kernel, without waiting for the event loop to come by."""
        ...

    def find(self, message: BusMessage) -> None:
        """Let the listener hear this as if somebody had said it: it was found where others leave it."""
        ...

    def silent_s(self) -> float:
        """Seconds since anything was heard over the bus at all."""
        ...


class NoBus:
    """The only cell of its host."""

    def open(self, listener: BusListener) -> None:
        """Nobody will say anything."""

    def others(self) -> Iterable[str]:
        return ()

    def tell(self, message: BusMessage, to: str = "") -> None:
        """Nobody hears it."""

    def read(self) -> None:
        """Nobody said anything."""

    def find(self, message: BusMessage) -> None:
        """Nobody could have left anything."""

    def silent_s(self) -> float:
        return 0.0
