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
    """One line. `target` is performance.md's, or the promise in words; empty: only reported."""

    proof: str
    asked: str
    seen: str
    target: str = ""
    verdict: Literal["pass", "MISSED", "reported"]
    values: list[float] = []
    """Every single time that was measured, in the unit that `seen` names."""


def timed(
    proof: str, asked: str, values: Sequence[float], unit: str, must: float | None = None, aim: float | None = None
) -> Figure:
    """Times of several rounds; the slowest must be below `must`, and a median below `aim` is said."""
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
    """A promise that is kept or not; `wrong` is what contradicts it."""
    seen = "; ".join([*wrong[:3], f"{len(wrong)} contradictions in all", seen]) if wrong else seen
    return Figure(proof=proof, asked=asked, seen=seen, target=target, verdict="MISSED" if wrong else "pass")


def equal(proof: str, asked: str, seen: object, target: object) -> Figure:
    """Something that must be exactly so."""
    verdict: Literal["pass", "MISSED"] = "pass" if seen == target else "MISSED"
    return Figure(proof=proof, asked=asked, seen=str(seen), target=str(target), verdict=verdict)


def said(proof: str, asked: str, seen: str, *must_say: str, never: Sequence[str] = ()) -> Figure:
    """Words that a person reads: all of `must_say` is among them, and none of `never`."""
    wrong = any(words not in seen for words in must_say) or any(words in seen for words in never)
    target = ", ".join([*(f"“{words}”" for words in must_say), *(f"never “{words}”" for words in never)])
    return Figure(proof=proof, asked=asked, seen=seen, target=target, verdict="MISSED" if wrong else "pass")


def as_table(figures: Sequence[Figure]) -> Table:
    """For standard output; long words are folded."""
    table = Table("proof", "asked", "seen", "target", "verdict", box=SIMPLE, pad_edge=False)
    for each in figures:
        table.add_row(*map(Text, (each.proof, each.asked, each.seen, each.target or "-", each.verdict)))
    return table
