"""Cells die one by one or all at once: only their own sockets are lost, and nothing that was decided is."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from app.control.record import read_record
from app.gateway.resume_index import digest_of
from app.store.sql import sqlite_store
from ops.chaos.fleet import Fleet, fleet, until
from ops.chaos.kills import kill_again_and_again
from ops.chaos.succession import leader
from ops.command import title_of
from rollout.state import Rollout
from tests.fleet.clients import Crowd

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CLIENTS = 40
KILLS = int(os.environ.get("CROSSFADE_TEST_KILLS", "12"))


async def stored(folder: Path) -> Rollout:
    store = sqlite_store(folder / "data")
    await store.open()
    try:
        record = await store.load_record()
        return Rollout() if record is None else read_record(record)
    finally:
        await store.close()


async def test_a_killed_cell_loses_only_its_own_sockets_and_comes_back(three: Fleet) -> None:
    async with Crowd(three.ws, CLIENTS) as clients:
        await asyncio.gather(*(client.ask("remember me") for client in clients))
        where = {session.user_id: session.cell for session in await three["a"].sessions()}
        lost = [client for client in clients if where[client.user_id] == "b"]
        kept = [client for client in clients if where[client.user_id] != "b"]
        assert lost
        await written(three.folder, {digest_of(client.ready["resume_token"], client.user_id) for client in lost})
        pid = three.signal("b", signal.SIGKILL)
        workers = psutil.Process(pid).children() if psutil.pid_exists(pid) else []  # type: ignore[no-untyped-call]
        assert {await client.closed() for client in lost} == {None}
        assert all(client.is_open for client in kept)
        await asyncio.gather(*(client.connect() for client in lost))
        assert {client.ready["recovered"] for client in lost} <= {True, "stale"}
        answers = await asyncio.gather(*(client.ask("and again") for client in lost))
        assert {events[-1]["type"] for events in answers} == {"agent_completed"}
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 5)
        assert not alive
        await three.complete()
        assert three.cells()["b"].pid != pid
        assert all(client.is_open for client in clients)
        # What it did not see of the rollout while it was dead, it has learned.
        await three["b"].set(30)
        ordered = await three["b"].rollback()
        assert (await three.verified("a", id=ordered.id)).cells == ["a", "b", "c"]


async def test_a_cell_that_dies_during_a_rollback_is_not_waited_for(three: Fleet) -> None:
    async with Crowd(three.ws, CLIENTS):
        await three["a"].set(100)
        three.signal("b", signal.SIGSTOP)
        ordered = await three["a"].rollback()
        last = (await three["c"].view()).last_rollback
        assert last is not None
        assert (last.id, last.verified_at, last.silent_cells) == (ordered.id, None, ["b"])
        three.signal("b", signal.SIGKILL)
        done = await three.verified("c", id=ordered.id)
        assert "b" not in done.silent_cells
        await three.complete()
        assert (await three["b"].view()).lock is not None


async def test_the_commanding_cell_may_die_before_its_rollback_is_verified(three: Fleet) -> None:
    async with Crowd(three.ws, CLIENTS):
        await three["a"].set(100)
        three.signal("b", signal.SIGSTOP)
        try:
            ordered = await three["a"].rollback()
            three.signal("a", signal.SIGKILL)

            async def without_a() -> bool:
                view = await three["c"].view()
                assert view.lock is not None
                return view.last_rollback is not None and view.last_rollback.silent_cells == ["b"]

            await until(without_a, what="c shows that b is waited for")
        finally:
            three.signal("b", signal.SIGCONT)
        await three.verified("c", id=ordered.id)
        assert (await stored(three.folder)).lock is not None


async def test_another_cell_takes_the_automatic_steps_within_five_seconds(three: Fleet) -> None:

    async def led() -> str:
        return await leader(three.folder)

    first = await until(led, what="somebody leads")
    cell = first.split("/")[0]
    three.signal(cell, signal.SIGSTOP)  # not even a goodbye, and no place for a successor of the same name
    try:
        began = time.monotonic()

        async def another() -> bool:
            return await leader(three.folder) not in ("", first)

        await until(another, 10, "another cell leads")
        assert time.monotonic() - began < 5
    finally:
        three.signal(cell, signal.SIGCONT)


async def test_sigterm_ends_everything_and_tells_the_clients(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as service, Crowd(service.ws, CLIENTS) as clients:
        everything = service.everything()
        without_build = sorted(" ".join(title_of(each).split()[:3]) for each in everything)
        cells = [f"crossfade: gateway {name}" for name in "abc"]
        workers = [f"crossfade: worker {path}" for path in ("v2", "v3") for _ in cells]
        assert without_build == [*cells, "crossfade: parent", *workers]
        service.process.terminate()  # type: ignore[no-untyped-call]
        assert {await client.closed() for client in clients} == {1012}
        _, alive = await asyncio.to_thread(psutil.wait_procs, everything, 20)
        assert not alive


async def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    async with fleet(tmp_path, 2) as service:
        everything = service.everything()
        service.process.kill()  # type: ignore[no-untyped-call]
        _, alive = await asyncio.to_thread(psutil.wait_procs, everything, 10)
        assert not alive


async def test_a_service_killed_at_any_moment_forgets_nothing(tmp_path: Path) -> None:
    """Record, audit, pages, answers and lock agree after each; `python -m ops.chaos kills` does it 50 times."""
    seed = os.environ.get("CROSSFADE_TEST_SEED", "4")
    run = await kill_again_and_again(tmp_path, KILLS, seed)
    print(f"CROSSFADE_TEST_SEED={seed}: {run.words()}")
    assert run.wrong == []
    assert run.kills == KILLS
    assert run.answered > KILLS
    assert run.cut_off.total() > 0, "no kill hit a command, so nothing was shown"


async def written(folder: Path, wanted: set[str]) -> None:
    """Wait until the sessions with these digests of tokens are in the store."""
    with closing(sqlite3.connect(folder / "data" / "sessions.db")) as database:

        async def all_there() -> bool:
            return wanted <= {found for (found,) in database.execute("SELECT digest FROM resumes")}

        await until(all_there, what="the sessions are written behind")
