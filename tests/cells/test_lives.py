"""Cells die one by one or all at once: only their own sockets are lost, and nothing that was decided is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from app.control.lease import NAME
from app.control.lockfile import LockFile
from app.control.record import read_record
from app.control.store.sql import sqlite_store
from dashboards.views import RolloutView
from ops.chaos.fleet import Fleet, fleet, until
from rollout.cohort import bucket
from rollout.state import Rollout
from tests.cells.clients import Client, Crowd

pytestmark = pytest.mark.slow

CLIENTS = 40
KILLS = int(os.environ.get("CROSSFADE_TEST_KILLS", "12"))
FLAG = "USE_WEBSOCKET_SUPERVISOR_V3"


async def stored(folder: Path) -> Rollout:
    store = sqlite_store(folder / "data")
    await store.open()
    try:
        record = await store.load_record()
        return Rollout() if record is None else read_record(record)
    finally:
        await store.close()


async def leader(folder: Path) -> str:
    """The cell that holds the lease, with its process's mark."""
    store = sqlite_store(folder / "data")
    await store.open()
    try:
        return await store.load_lease(NAME) or ""
    finally:
        await store.close()


async def test_a_killed_cell_loses_only_its_own_sockets_and_comes_back(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as service, Crowd(service.ws, CLIENTS) as clients:
        await asyncio.gather(*(client.ask("remember me") for client in clients))
        where = {session.user_id: session.cell for session in await service["a"].sessions()}
        lost = [client for client in clients if where[client.user_id] == "b"]
        kept = [client for client in clients if where[client.user_id] != "b"]
        assert lost
        await written(tmp_path, {client.user_id for client in lost})
        pid = service.signal("b", signal.SIGKILL)
        workers = psutil.Process(pid).children() if psutil.pid_exists(pid) else []  # type: ignore[no-untyped-call]
        assert {await client.closed() for client in lost} == {None}
        assert all(client.is_open for client in kept)
        await asyncio.gather(*(client.connect() for client in lost))
        assert {client.ready["recovered"] for client in lost} <= {True, "stale"}
        answers = await asyncio.gather(*(client.ask("and again") for client in lost))
        assert {events[-1]["type"] for events in answers} == {"agent_completed"}
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 5)
        assert not alive
        await service.complete()
        assert service.cells()["b"].pid != pid
        assert all(client.is_open for client in clients)
        # What it did not see of the rollout while it was dead, it has learned.
        await service["b"].set(30)
        assert (await service["b"].command("rollback")).status_code == 200
        assert (await service.verified("a")).cells == ["a", "b", "c"]


async def test_a_cell_that_dies_during_a_rollback_is_not_waited_for(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as service, Crowd(service.ws, CLIENTS):
        await service["a"].set(100)
        service.signal("b", signal.SIGSTOP)
        assert (await service["a"].command("rollback")).status_code == 200
        last = (await service["c"].view()).last_rollback
        assert last is not None
        assert (last.verified_at, last.silent_cells) == (None, ["b"])
        service.signal("b", signal.SIGKILL)
        done = await service.verified("c")
        assert "b" not in done.silent_cells
        await service.complete()
        assert (await service["b"].view()).lock is not None


async def test_the_commanding_cell_may_die_before_its_rollback_is_verified(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as service, Crowd(service.ws, CLIENTS):
        await service["a"].set(100)
        service.signal("b", signal.SIGSTOP)
        try:
            assert (await service["a"].command("rollback")).status_code == 200
            service.signal("a", signal.SIGKILL)

            async def without_a() -> bool:
                view = await service["c"].view()
                assert view.lock is not None
                return view.last_rollback is not None and view.last_rollback.silent_cells == ["b"]

            await until(without_a, what="c shows that b is waited for")
        finally:
            service.signal("b", signal.SIGCONT)
        await service.verified("c")
        assert (await stored(tmp_path)).lock is not None


async def test_another_cell_takes_the_automatic_steps_within_five_seconds(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as service:

        async def led() -> str:
            return await leader(tmp_path)

        first = await until(led, what="somebody leads")
        cell = first.split("/")[0]
        service.signal(cell, signal.SIGSTOP)  # not even a goodbye, and no place for a successor of the same name
        try:
            began = time.monotonic()

            async def another() -> bool:
                return await leader(tmp_path) not in ("", first)

            await until(another, 10, "another cell leads")
            assert time.monotonic() - began < 5
        finally:
            service.signal(cell, signal.SIGCONT)


async def test_sigterm_ends_everything_and_tells_the_clients(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as service, Crowd(service.ws, CLIENTS) as clients:
        everything = service.everything()
        assert len(everything) == 1 + 3 + 3 * 2
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


class Promises:
    """What operators were answered, which must outlive the service."""

    def __init__(self) -> None:
        self.revision = 0
        self.locked_at = 0

    def answered(self, view: RolloutView) -> None:
        self.revision = max(self.revision, view.revision)
        if view.lock is not None:
            self.locked_at = max(self.locked_at, view.revision)


async def test_a_service_killed_at_any_moment_forgets_nothing(tmp_path: Path) -> None:
    """Record, audit and served share agree after every restart, and a rollback that was answered for stays locked."""
    chance = random.Random(int(os.environ.get("CROSSFADE_TEST_SEED", "4")))
    promises = Promises()
    for turn in range(KILLS):
        async with fleet(tmp_path, 2) as service:
            await agrees(service, tmp_path)
            everything = service.everything()
            operators = [asyncio.create_task(operate(service, cell, chance, promises)) for cell in service.names]
            killed = asyncio.get_running_loop().call_later(chance.uniform(0.05, 1.5), service.process.kill)
            with contextlib.suppress(httpx.TransportError, AssertionError):
                await asyncio.gather(*operators)
            assert killed.when() <= asyncio.get_running_loop().time(), f"turn {turn}: the operators ended by themselves"
            await asyncio.gather(*operators, return_exceptions=True)
            _, alive = await asyncio.to_thread(psutil.wait_procs, everything, 10)
            assert not alive
        record = await stored(tmp_path)
        lock = LockFile(tmp_path / "data").read()
        assert record.revision >= promises.revision or lock is not None, f"turn {turn}: an answered change is lost"
        if record.lock is None and lock is None and promises.locked_at:
            assert await unlocked_after(tmp_path, promises.locked_at), f"turn {turn}: a lock is forgotten"
    async with fleet(tmp_path, 2) as service:
        await agrees(service, tmp_path)
    assert promises.revision > KILLS


async def operate(service: Fleet, cell: str, chance: random.Random, promises: Promises) -> None:
    """Give commands until the service is gone, and keep what was answered."""
    desk = service[cell]
    while True:
        view = await desk.view()
        if view.lock is not None:
            answer = await desk.command("unlock", view.revision)
        elif chance.random() < 0.3:
            answer = await desk.command("rollback")
        else:
            answer = await desk.command("percentage", view.revision, percentage=chance.randint(1, 100))
        if answer.status_code == 200:
            promises.answered(msgspec.json.decode(answer.content, type=RolloutView))


async def unlocked_after(folder: Path, revision: int) -> bool:
    """Whether the audit has a person lifting the lock after this revision."""
    store = sqlite_store(folder / "data")
    await store.open()
    try:
        entries = (await store.load_audit(limit=200)).items
    finally:
        await store.close()
    return any(entry.what == "unlock" and entry.revision > revision for entry in entries)


async def agrees(service: Fleet, folder: Path) -> None:
    """What is stored, audited, shown by every cell and served to clients is one and the same."""
    record = await stored(folder)
    for name in service.names:
        view = await service[name].view()
        assert (view.phase, view.percentage, view.revision) == (record.phase, record.percentage, record.revision)
    changes = [entry for entry in (await service.audit("a")).items if entry.before != entry.after]
    if changes:
        assert changes[0].revision == record.revision
        assert changes[0].after == {"phase": record.phase, "percentage": record.percentage, "stage": record.stage}
    clients = [Client(service.ws, f"share-{number}") for number in range(30)]
    await asyncio.gather(*(client.connect() for client in clients))
    served = {session.user_id: session.path for session in await service["a"].sessions()}
    assert served == {
        client.user_id: "v3" if bucket(FLAG, client.user_id) <= record.percentage else "v2" for client in clients
    }
    await asyncio.gather(*(client.close() for client in clients))


async def written(folder: Path, users: set[str]) -> None:
    """Wait until the resume documents of these users' living sessions are in the store."""
    store = sqlite_store(folder / "data")
    await store.open()

    async def all_there() -> bool:
        async with store._begin(store._sessions) as connection:
            from sqlalchemy import text

            rows = (await connection.execute(text("SELECT outcomes FROM resumes"))).all()
        return all(any(user.encode() in row.outcomes for row in rows) for user in users)

    try:
        await until(all_there, what="the sessions are written behind")
    finally:
        await store.close()
