"""PostgreSQL fails under load, killed or hung, and comes back: what clients, operators and the audit notice.

It acts as operators and clients do, and reads the database only to see what was saved in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import httpx

from app.store.sql import postgres_store
from ops.bench.processes import BenchError
from ops.chaos.figures import Figure, equal, held, timed
from ops.chaos.fleet import Fleet, fleet, until
from ops.chaos.kills import read
from ops.chaos.postgres import PostgresServer, running_postgres

PROOF = "PostgreSQL away"
USERS = 300
LOAD_S = 45
TRIES = 5
REASON = "errors while the store is away"
Way = Literal["killed", "hung"]


async def go_away(folder: Path, way: Way) -> AsyncIterator[Figure]:
    """Two cells and 300 sockets that send messages; a change and a rollback while there is no store."""
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres())
        url = await postgres.database()
        service = await stack.enter_async_context(fleet(folder / way, 2, store=url))
        load = await service.begin("loadtest", "--clients", str(USERS), "--seconds", str(LOAD_S), "--json")
        try:
            async for figure in under_load(service, postgres, url, way):
                yield figure
            if load.returncode is not None:
                raise BenchError("the load ended before the store was back")
            output, _ = await load.communicate()
        finally:
            if load.returncode is None:
                load.kill()
        report = json.loads(output.decode().splitlines()[-1])
        for figure in as_clients_saw_it(report, way):
            yield figure


async def under_load(service: Fleet, postgres: PostgresServer, url: str, way: Way) -> AsyncIterator[Figure]:
    """From half of the users on v3 until the rollback is saved in the database."""
    desk = service[service.names[0]]

    async def on(path: set[str]) -> bool:
        sessions = await desk.sessions()
        return len(sessions) == USERS and {session.path for session in sessions} == path

    await until(lambda: on({"v2"}), what="everybody is there")
    await desk.set(50)
    await until(lambda: on({"v2", "v3"}), what="half are on v3")
    async with away(postgres, way):
        refusals = [await change(service) for _ in range(TRIES)]
        codes = sorted({status for status, _ in refusals})
        yield equal(PROOF, f"{way}: status of `set`", codes, [503])
        yield timed(PROOF, f"{way}: the first `set` is refused after", [refusals[0][1]], "s")
        yield timed(PROOF, f"{way}: any later `set` is refused after", [s for _, s in refusals[1:]], "s")
        began = time.monotonic()
        answer = await desk.command("rollback", body={"reason": REASON})
        answered_s = time.monotonic() - began
        yield equal(PROOF, f"{way}: status of a rollback", answer.status_code, 200)
        yield timed(PROOF, f"{way}: it is answered after", [answered_s], "s")
        done = await service.verified(desk.cell)
        yield timed(PROOF, f"{way}: no new admission to v3 after", [done.new_stopped_ms or 0.0], "ms", 100, 20)
        yield timed(
            PROOF, f"{way}: everybody moved, in all cells, after", [done.existing_moved_ms or 0.0], "ms", 250, 50
        )
        seen = f"{await on({'v2'})}, {done.closed} closed, {done.interrupted} interrupted"
        yield equal(PROOF, f"{way}: all on v2 without the store", seen, "True, 0 closed, 0 interrupted")
    began = time.monotonic()

    async def stored() -> bool:
        return (await read(postgres_store(url))).record.lock is not None

    await until(stored, what="the lock is in the database")
    yield timed(PROOF, f"{way}: back, the lock is in the database after", [time.monotonic() - began], "s")
    told = [f"{entry.what} ({entry.before['percentage']} %)" for entry in (await read(postgres_store(url))).audit[-2:]]
    yield equal(PROOF, f"{way}: the audit's last lines", told, ["start 50 % (0 %)", "rollback (50 %)"])
    unlocked = await desk.command("unlock", (await desk.view()).revision)
    again = await desk.command("percentage", (await desk.view()).revision, body={"percentage": 10})
    seen = f"unlock {unlocked.status_code}, set {again.status_code}"
    yield equal(PROOF, f"{way}: and then it works again", seen, "unlock 200, set 200")


async def change(service: Fleet) -> tuple[int, float]:
    """A `set`, based on the current revision: its status and its seconds."""
    desk = service[service.names[-1]]
    revision = (await desk.view()).revision
    began = time.monotonic()

    def sent() -> None:
        nonlocal began
        began = time.monotonic()

    answer: httpx.Response = await desk.command("percentage", revision, before=sent, body={"percentage": 10})
    return answer.status_code, time.monotonic() - began


@contextlib.asynccontextmanager
async def away(postgres: PostgresServer, way: Way) -> AsyncIterator[None]:
    """Take PostgreSQL away until the block ends: as by a crash, or by stopping all of its processes."""
    if way == "hung":
        with postgres.hung():
            yield
    else:
        await asyncio.to_thread(postgres.stop, signal.SIGQUIT)
        yield
        await postgres.start()


def as_clients_saw_it(report: dict[str, Any], way: Way) -> list[Figure]:
    """From the report of the load test, which checks every message."""
    closed = sum(report["drops"].values())
    broken = [f"{rule}: {count}" for rule, count in report["broken_rules"].items()]
    lost = report["sent"] - report["finished"]
    seen = f"{report['sent']} sent, {report['finished']} finished, {sum(report['errors'].values())} errors"
    return [
        equal(PROOF, f"{way}: of {USERS} sockets, closed", closed, 0),
        equal(PROOF, f"{way}: messages without their one terminal event ({seen})", lost, 0),
        held(PROOF, f"{way}: delivery contract", "no rule broken", broken, "no rule broken"),
    ]
