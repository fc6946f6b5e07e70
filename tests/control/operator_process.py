"""An operator in a process of its own: so many commands, each based on what was last seen, as fast as they go.

Run as `python -m tests.control.operator_process PLACE NAME COMMANDS`; says `ready`, begins when its input ends, and
prints what became of each command. Uses what a cell uses to carry out a command: the machine, the keeper and the store.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import cycle

import msgspec

from app.control.keeper import Keeper
from app.control.record import audit_in, entry_of
from app.control.store.port import RevisionTaken
from rollout.errors import StaleRevision
from rollout.events import Actor, SetPercentage
from rollout.machine import advance
from rollout.state import Rollout
from tests.control.stores import opened


class Outcome(msgspec.Struct, frozen=True):
    """What an operator was told."""

    what: str
    revision: int
    """That was made, or that the refusal says is there now."""
    percentage: int
    winner: str
    """Empty when it was done; else who the refusal says was faster, with what."""
    winner_did: str = ""


async def operate(place: str, name: str, commands: int) -> list[Outcome]:
    told = []
    async with opened(place) as store:
        keeper = Keeper(store)
        await keeper.load()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for number, percentage in zip(range(commands), percentages(name), strict=False):
            base = keeper.stored or Rollout()
            command = SetPercentage(actor=Actor(name, "manager"), percentage=percentage, revision=base.revision)
            told.append(await carry_out(keeper, base, command, float(number)))
    return told


async def carry_out(keeper: Keeper, base: Rollout, command: SetPercentage, now: float) -> Outcome:
    """As the control loop does it."""
    transition = advance(base, command, now)
    audit = audit_in(transition.effects)
    try:
        await keeper.save(transition.state, entry_of(audit, "test", base, transition.state, figures=[], now=now))
    except RevisionTaken:
        await keeper.load()
        state = keeper.stored
        assert state is not None
        stale = StaleRevision(base.revision, state.revision, state.changed_by, state.changed_what)
        return Outcome(audit.what, stale.actual, state.percentage, stale.who, stale.what)
    return Outcome(audit.what, transition.state.revision, transition.state.percentage, "")


def percentages(name: str) -> Iterator[int]:
    """Each operator has its own, so that none finds the percentage it wants there already."""
    return cycle(range(1, 50) if name == "ann" else range(51, 100))


if __name__ == "__main__":
    outcomes = asyncio.run(operate(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    print(msgspec.json.encode(outcomes).decode())
