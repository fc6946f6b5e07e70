"""Two operators in two processes, many commands over the API of a real service: no update is lost, refusals are true.

In every round both command as they like, as fast as they can, and then meet: both look, see the same revision, and both
send a change that is based on it. CROSSFADE_TEST_COMMANDS=1000 is the full run; `-rP` shows the figures.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle, pairwise
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import pytest

from ops.bench.processes import ROOT
from ops.chaos.fleet import Fleet, fleet, until
from rollout.views import AuditEntry
from tests.control.operator_process import Outcome

pytestmark = pytest.mark.slow

COMMANDS = int(os.environ.get("CROSSFADE_TEST_COMMANDS", "120"))
"""Of both operators together."""
FREE = 4
"""Commands of each in a round before they meet."""
NAMES = ("ann", "bob")
MEETINGS: tuple[Literal["together", "ann", "bob"], ...] = ("together", "ann", "bob")
"""Who sends first when they meet; the other one is refused, whatever the machine is busy with."""
PHASE_AFTER = {"start": "progressing", "promote": "progressing", "pause": "paused", "resume": "progressing"}
T = TypeVar("T")


class Operator:
    """A process of `operator_process` and what it has told."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.told: list[Outcome] = []
        self._process = process

    async def said(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, f"{self.name} has ended"
        return line

    async def do(self, words: str, kind: type[T]) -> T:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())
        return msgspec.json.decode(await self.said(), type=kind)

    def leave(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def go(self, commands: int) -> None:
        self.told += await self.do(f"go {commands}", list[Outcome])

    async def act(self) -> Outcome:
        outcome = await self.do("act", Outcome)
        self.told.append(outcome)
        return outcome


@asynccontextmanager
async def operators(service: Fleet) -> AsyncIterator[list[Operator]]:
    """One at the first cell and one at the last, each with a token of their own."""
    found = []
    async with asyncio.TaskGroup() as group:
        for name, cell in zip(NAMES, (service.names[0], service.names[-1]), strict=True):
            _, output = await service.run("token", "--role", "manager", "--name", name)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.control.operator_process", service.url, cell, name,
                cwd=ROOT, env={**service.environ, "CROSSFADE_TOKEN": output.splitlines()[-1]},
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            group.create_task(process.wait())
            found.append(Operator(name, process))
        try:
            for operator in found:
                assert await operator.said() == b"ready\n"
            yield found
        finally:
            for operator in found:
                operator.leave()


async def meet(ann: Operator, bob: Operator, first: Literal["together", "ann", "bob"]) -> str:
    """Both send a change on the same revision: exactly one of them wins. The winner's name."""

    async def see_the_same() -> bool:
        return len({await operator.do("look", int) for operator in (ann, bob)}) == 1

    await until(see_the_same, what="both see the same revision")
    if first == "together":
        outcomes = dict(zip(NAMES, await asyncio.gather(ann.act(), bob.act()), strict=True))
    else:
        order = (ann, bob) if first == "ann" else (bob, ann)
        outcomes = {operator.name: await operator.act() for operator in order}
    assert {outcome.based_on for outcome in outcomes.values()} == {outcomes["ann"].based_on}
    won = {name for name, outcome in outcomes.items() if outcome.status == 200}
    assert (len(won), first in {"together", *won}) == (1, True), outcomes
    (winner,) = won
    (loser,) = set(NAMES) - won
    refused = outcomes[loser]
    assert (refused.status, refused.who, refused.revision) == (412, winner, outcomes[winner].revision), refused
    return winner


async def whole_audit(service: Fleet) -> list[AuditEntry]:
    """All changes of the record, the oldest first; not who was given a token before there were any."""
    async with service.client(timeout=30) as http:
        answer = await http.get("/api/rollout/events", headers={"Accept": "application/jsonl"})
    lines = answer.raise_for_status().content.splitlines()[::-1]
    return [entry for entry in (msgspec.json.decode(line, type=AuditEntry) for line in lines) if entry.revision]


@pytest.fixture(params=["sqlite, one cell", "sqlite, two cells", "postgresql, two cells"])
def where(request: pytest.FixtureRequest) -> tuple[int, str]:
    """Cells and store of a service."""
    if request.param.startswith("postgresql"):
        return 2, str(request.getfixturevalue("postgres_url"))
    return 2 if request.param.endswith("two cells") else 1, "sqlite"


async def test_no_update_is_lost_and_each_refusal_names_the_winner(tmp_path: Path, where: tuple[int, str]) -> None:
    cells, store = where
    won: Counter[tuple[str, str]] = Counter()
    async with fleet(tmp_path, cells, store=store) as service:
        async with operators(service) as (ann, bob):
            rounds = COMMANDS // (2 * (FREE + 1))
            for _, first in zip(range(rounds), cycle(MEETINGS), strict=False):
                await asyncio.gather(ann.go(FREE), bob.go(FREE))
                won[first, await meet(ann, bob, first)] += 1
            told = {operator.name: operator.told for operator in (ann, bob)}
        audit = await whole_audit(service)

        async def agree() -> bool:
            last = max(entry.revision for entry in audit)
            return {(await service[name].view()).revision for name in service.names} == {last}

        await until(agree, what="every cell has the last revision")
    assert [len(told[name]) for name in NAMES] == [rounds * (FREE + 1)] * 2
    made = no_update_is_lost(told, audit)
    refused = refusals_are_true(told, made)
    accepted = sum(outcome.status == 200 for name in NAMES for outcome in told[name])
    assert all(refused[name] >= won[other, other] for name, other in (NAMES, NAMES[::-1]))
    assert min(won["ann", "ann"], won["bob", "bob"]) >= rounds // len(MEETINGS)
    print(f"{rounds} rounds, {2 * len(told['ann'])} commands: {accepted} accepted, {len(made)} revisions")
    print(f"refused: {dict(refused)}; who won when they met: {dict(won)}")


def no_update_is_lost(told: dict[str, list[Outcome]], audit: list[AuditEntry]) -> dict[int, AuditEntry]:
    """Each accepted command is in the audit once, with its effect, and nothing else is; the entries by revision."""
    # A rollback when one is in force is written down and changes nothing.
    again = [entry for entry in audit if entry.what == "rollback (already in force)"]
    made = {entry.revision: entry for entry in audit if entry not in again}
    assert len(made) + len(again) == len(audit)
    assert list(made) == list(range(1, len(made) + 1))
    accepted = {o.reason: (name, o) for name in NAMES for o in told[name] if o.status == 200}
    # Of a rollback in one cell and an undo in the other at the same moment the rollback wins, by the lock it left.
    won = [entry for entry in made.values() if entry.source == "lock file"]
    assert sorted(accepted) == sorted(entry.reason for entry in audit if entry not in won)
    assert all(accepted[entry.reason][1].verb == "rollback" for entry in won)
    for entry in audit:
        name, outcome = accepted[entry.reason]
        assert entry.who == name
        if outcome.verb != "rollback":  # which is based on nothing
            assert entry.revision == outcome.based_on + 1
            # It is answered with a later revision when a rollback came while it was being saved, and lies on top.
            later = [
                made[revision].what for revision in range(entry.revision + 1, outcome.revision + 2) if revision in made
            ]
            assert outcome.revision == entry.revision or "rollback" in later
    for before, entry in pairwise(made.values()):
        assert entry.before == before.after
    undone: dict[str, object] = {}
    for entry in made.values():
        outcome = accepted[entry.reason][1]
        if outcome.verb == "rollback":
            undone = entry.before
        assert (entry.after["phase"], entry.after["percentage"]) == effect(entry, outcome, undone)
    return made


def effect(entry: AuditEntry, outcome: Outcome, undone: dict[str, object]) -> tuple[object, object]:
    """Phase and percentage after a command, by the verb table."""
    before = entry.before
    match outcome.verb:
        case "rollback" | "unlock":
            return "rolled_back" if outcome.verb == "rollback" else "idle", 0
        case "undo":
            return undone["phase"], undone["percentage"]
        case "set":
            return "progressing" if before["phase"] == "idle" else "paused", outcome.percentage
        case "start":
            return "progressing", outcome.percentage
        case "promote":
            return "progressing", int(entry.what.split()[2])
        case verb:
            return PHASE_AFTER[verb], before["percentage"]


def refusals_are_true(told: dict[str, list[Outcome]], made: dict[int, AuditEntry]) -> Counter[str]:
    """Whoever was refused was told who had been faster, with what and when; how often each was."""
    refused: Counter[str] = Counter()
    for name in NAMES:
        for outcome in told[name]:
            if outcome.status == 412:
                winner = made[outcome.revision]
                assert outcome.revision > outcome.based_on
                assert (outcome.who, outcome.what, outcome.at) == (winner.who, winner.what, winner.at)
                refused[name] += 1
            elif outcome.status != 200:
                # The rules of the verb itself: nobody was faster, and the flag does not read 0 % yet.
                assert (outcome.status, outcome.verb) == (409, "unlock"), outcome
                assert "the flag still reads" in outcome.detail
    return refused
