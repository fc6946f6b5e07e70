"""The result of a proof: what was asked, what was measured, what is promised, and whether the promise was kept."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text


class Figure(Struct, frozen=True, kw_only=True):
    """One line. `target` is a number or the promise in words; empty: only reported."""

    proof: str
    asked: str
    seen: str
    target: str = ""
    verdict: Literal["pass", "MISSED", "reported"]
    values: list[float] = []
    """All measured times, in the unit that `seen` names."""


def timed(
    proof: str, asked: str, values: Sequence[float], unit: str, must: float | None = None, aim: float | None = None
) -> Figure:
    """A figure from the times of several rounds: the slowest must be below `must`; a median below `aim` is noted."""
    median, worst = statistics.median(values), max(values)
    seen = f"{worst:.3g} {unit}"
    if len(values) > 1:
        seen = f"median {median:.3g} {unit}, worst {seen} of {len(values)}"
    if must is None:
        return Figure(proof=proof, asked=asked, seen=seen, verdict="reported", values=list(values))
    target = f"< {must:g} {unit}"
    if aim is not None:
        target += f", aim < {aim:g} {unit}" + " (reached by the median)" * (median < aim)
    verdict: Literal["pass", "MISSED"] = "pass" if worst < must else "MISSED"
    return Figure(proof=proof, asked=asked, seen=seen, target=target, verdict=verdict, values=list(values))


def held(proof: str, asked: str, seen: str, wrong: Sequence[str], target: str) -> Figure:
    """A promise that is kept or not; `wrong` lists what contradicts it."""
    seen = "; ".join([*wrong[:3], f"{len(wrong)} contradictions in all", seen]) if wrong else seen
    return Figure(proof=proof, asked=asked, seen=seen, target=target, verdict="MISSED" if wrong else "pass")


def equal(proof: str, asked: str, seen: object, target: object) -> Figure:
    """A figure that must have exactly this value."""
    verdict: Literal["pass", "MISSED"] = "pass" if seen == target else "MISSED"
    return Figure(proof=proof, asked=asked, seen=str(seen), target=str(target), verdict=verdict)


def said(proof: str, asked: str, seen: str, *must_say: str, never: Sequence[str] = ()) -> Figure:
    """A text for a person, which must contain all of `must_say` and nothing of `never`."""
    wrong = any(words not in seen for words in must_say) or any(words in seen for words in never)
    target = ", ".join([*(f"“{words}”" for words in must_say), *(f"never “{words}”" for words in never)])
    return Figure(proof=proof, asked=asked, seen=seen, target=target, verdict="MISSED" if wrong else "pass")


def as_table(figures: Sequence[Figure]) -> Table:
    """The table as text; long cells are wrapped."""
    table = Table("proof", "asked", "seen", "target", "verdict", box=SIMPLE, pad_edge=False)
    for each in figures:
        table.add_row(*map(Text, (each.proof, each.asked, each.seen, each.target or "-", each.verdict)))
    return table
