"""What the cells of a host tell each other, and the narrow bus that carries it: values and protocols."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeAlias

from msgspec import Struct

from app.fleet.census import Census
from app.metrics.counters import Tally
from app.metrics.error_groups import GroupCount
from app.metrics.user_marks import Marks
from app.pool.state import PathState
from rollout.builds import BuildSource
from rollout.names import PathName, Phase
from rollout.state import Lock
from rollout.views import VerdictView


class Changed(Struct, frozen=True, array_like=True, tag="changed"):
    """This record was saved; a cell ignores revisions lower than its own. `pins`: the pins have changed too."""

    revision: int
    text: str
    pins: bool = False


class Locked(Struct, frozen=True, array_like=True, tag="locked"):
    """A rollback is in force in the sender, and on the disk; the store may not have it yet."""

    lock: Lock


class CellReport(Struct, frozen=True, array_like=True, tag="report"):
    """What one cell has observed of a rollback, which is in force there."""

    rollback: str
    """Id of the rollback, as in its receipt."""
    to_move: int
    moved: int
    closed: int
    interrupted: int
    done: bool
    """It has no session on v3, has admitted none since, and v3's worker has then answered zero or was dead."""
    errors: list[GroupCount] = []
    """All its error groups when the rollback came."""
    leader: str = ""
    """The cell that was given the command and adds the reports up, if known: other hosts learn it here."""


class ReceiptSeen(Struct, frozen=True, array_like=True, tag="receipt"):
    """What the cell that adds the reports up has so far, as JSON of `app.control.receipt.Receipt`."""

    receipt: bytes


class CellFigures(Struct, frozen=True, array_like=True, tag="figures"):
    """One cell at one moment; sent once a second and on every change."""

    process: str
    """Names one start of the cell: its counters begin anew with the next."""
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
    """Its users by path, for the other cells of its host; `paths` counts those that no earlier cell counts."""
    census: Census | None = None
    """The same for previews, for cells of other hosts; those of this one ask."""
    settings: dict[PathName, BuildSource] = {}
    """What its own settings say of each path, whatever was loaded."""


class Ask(Struct, frozen=True, array_like=True, tag="ask"):
    """A question to all other cells; `question` is one of `app.fleet.questions`."""

    number: int
    question: bytes


class Answer(Struct, frozen=True, array_like=True, tag="answer"):
    number: int
    body: bytes
    refusal: str = ""


BusMessage: TypeAlias = Changed | Locked | CellReport | ReceiptSeen | CellFigures | Ask | Answer


class BusListener(Protocol):
    """Hears what the bus brings; called in the event loop's thread."""

    def hear(self, sender: str, message: BusMessage) -> None:
        """A message of another cell; with an empty `sender` it was found, and its sender is not known."""
        ...

    def present(self) -> None:
        """`Bus.others` has changed."""
        ...


class Bus(Protocol):
    """The cells of this host. All calls are synchronous and take microseconds."""

    def open(self, listener: BusListener) -> None:
        """Start to send and hear, also what was sent since the process was started."""
        ...

    def others(self) -> Iterable[str]:
        """Every other cell of this host that serves or stands still, but none whose process is gone."""
        ...

    def tell(self, message: BusMessage, to: str = "") -> None:
        """Send a message to one cell, or to all others; the kernel has it when this returns."""
        ...

    def read(self) -> None:
        """Hear now the messages that wait in the kernel, without waiting for the event loop."""
        ...

    def find(self, message: BusMessage) -> None:
        """Let the listener hear a message that was found, and not sent."""
        ...

    def silent_s(self) -> float:
        """Seconds since anything was heard over the bus."""
        ...


class NoBus:
    """The bus of the only cell of a host."""

    def open(self, listener: BusListener) -> None:
        """There is nobody to hear."""

    def others(self) -> Iterable[str]:
        return ()

    def tell(self, message: BusMessage, to: str = "") -> None:
        """Nobody hears it."""

    def read(self) -> None:
        """There is nothing to hear."""

    def find(self, message: BusMessage) -> None:
        """Nobody could have left anything."""

    def silent_s(self) -> float:
        return 0.0
