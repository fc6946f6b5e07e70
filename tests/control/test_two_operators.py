"""Two operators in two processes, a thousand commands at once: no update is lost, and each refusal names the winner."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec

from app.control.store.sql import SqlStore
from dashboards.views import AuditEntry
from tests.control.operator_process import Outcome
from tests.control.stores import opened

COMMANDS = 500
NAMES = ("ann", "bob")


async def whole_audit(store: SqlStore) -> list[AuditEntry]:
    """The oldest first."""
    found: list[AuditEntry] = []
    before: int | None = None
    while True:
        page = await store.load_audit(before, 200)
        found += page.items
        before = page.next
        if before is None:
            return found[::-1]


async def test_no_update_is_lost_and_each_refusal_names_the_winner(place: str) -> None:
    async with opened(place):
        pass  # so that none of them spends its first seconds on making the tables
    processes = {
        name: await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.control.operator_process", place, name, str(COMMANDS),
            cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for name in NAMES
    }  # fmt: skip
    for process in processes.values():  # they begin together, however long one of them took to start
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(process.communicate(b"") for process in processes.values()))
    told = {
        name: msgspec.json.decode(output, type=list[Outcome]) for name, (output, _) in zip(NAMES, said, strict=True)
    }
    done = {name: [outcome for outcome in told[name] if not outcome.winner] for name in NAMES}
    refused = {name: [outcome for outcome in told[name] if outcome.winner] for name in NAMES}
    assert [len(told[name]) for name in NAMES] == [COMMANDS] * 2
    assert any(refused.values()), "they never met, so nothing was shown"

    # Every revision was made once, by one of them, and is what the audit says.
    made = sorted((outcome.revision, name, outcome.percentage) for name in NAMES for outcome in done[name])
    assert [revision for revision, _, _ in made] == list(range(1, len(made) + 1))
    async with opened(place) as store:
        audit = await whole_audit(store)
        record = await store.load_record()
    assert [(entry.revision, entry.who, entry.after["percentage"]) for entry in audit] == made
    assert [entry.before["percentage"] for entry in audit[1:]] == [percentage for _, _, percentage in made[:-1]]
    assert record is not None
    assert record.revision == len(made)

    # And whoever was refused was told who had been faster, and with what.
    by_revision = {entry.revision: entry for entry in audit}
    for name in NAMES:
        for outcome in refused[name]:
            winner = by_revision[outcome.revision]
            assert (outcome.winner, outcome.percentage) == (winner.who, winner.after["percentage"])
            assert outcome.winner_did == winner.what
            assert outcome.winner != name
