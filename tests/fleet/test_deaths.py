"""Two deaths of v3's workers roll back, also when each is another cell's, and no socket is closed for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from ops.chaos.fleet import Fleet, fleet, until
from ops.command import title_of
from tests.fleet.clients import Crowd

pytestmark = pytest.mark.slow

CLIENTS = 20
RELEASE = """
def create(context):
    async def run(message):
        yield "welcome"
    return run
"""


def canary_of(service: Fleet, cell: str) -> psutil.Process:
    """v3's worker."""
    (worker,) = [
        each
        for each in service.cells()[cell].children()  # type: ignore[no-untyped-call]
        if title_of(each).startswith("crossfade: worker v3 ")
    ]
    assert isinstance(worker, psutil.Process)
    return worker


async def test_one_death_in_each_of_two_cells_rolls_all_of_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "release.py").write_text(RELEASE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with (
        fleet(tmp_path / "service", 3, paths_v3="release:create") as service,
        Crowd(service.ws, CLIENTS) as clients,
    ):
        await service["a"].set(100)
        canary_of(service, "b").kill()  # type: ignore[no-untyped-call]

        async def counted() -> bool:
            return [verdict.evidence for verdict in (await service["a"].view()).verdicts] == [1.0]

        await until(counted, what="the first death is counted in another cell")
        assert (await service["a"].view()).lock is None
        canary_of(service, "c").kill()  # type: ignore[no-untyped-call]
        done = await service.verified("a")
        assert (done.by, done.reason, done.closed) == ("evidence", "harm shown by crashes", 0)
        answers = await asyncio.gather(*(client.ask("still there?") for client in clients))
        assert {events[-1]["type"] for events in answers} == {"agent_completed"}
        assert all(client.is_open for client in clients)
