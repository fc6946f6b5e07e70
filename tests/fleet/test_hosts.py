"""Two hosts on one PostgreSQL: a command reaches both, and a rollback is verified by the cells of both."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from ops.bench.processes import BenchError
from ops.chaos.fleet import CellDesk, fleet, until
from ops.chaos.postgres import PostgresServer
from tests.fleet.clients import Crowd
from tests.fleet.conftest import SECRET, Hosts, met, store_of

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CLIENTS = 20


async def test_a_rollback_is_verified_by_the_cells_of_all_hosts(hosts: Hosts) -> None:
    one, two = hosts
    (first, *_), (far,) = one.names, two.names
    async with Crowd(one.ws, CLIENTS) as near, Crowd(two.ws, CLIENTS) as away:
        await one[first].set(100)

        async def there() -> bool:
            return {session.path for session in await two[far].sessions()} == {"v3"}

        await until(there, what="100 % on the other host")
        two.signal(far, signal.SIGSTOP)
        try:
            began = time.monotonic()
            ordered = await one[first].rollback()
            last = (await one[first].view()).last_rollback
            assert last is not None
            assert (last.id, last.verified_at, last.silent_cells) == (ordered.id, None, [far])
            assert time.monotonic() - began < 5
        finally:
            two.signal(far, signal.SIGCONT)
        done = await one.verified(first, id=ordered.id)
        assert set(done.cells) == {*one.names, far}
        assert (done.sessions_moved, done.closed) == (2 * CLIENTS, 0)
        await two.verified(far, id=ordered.id)
        assert {session.path for session in await two[far].sessions()} == {"v2"}
        assert all(client.is_open for client in (*near, *away))
        figures = (await two[far].view()).paths
        assert sum(path.sessions for path in figures) == 2 * CLIENTS


async def test_a_stopped_host_is_not_waited_for(hosts: Hosts, tmp_path: Path) -> None:
    one, two = hosts
    async with fleet(tmp_path, 1, store=store_of(one), secret=SECRET) as third:
        await met(one, two, third)
        third.process.terminate()  # type: ignore[no-untyped-call]

        async def left() -> bool:
            return {cell.name for cell in (await one[one.names[0]].view()).cells} == {*one.names, *two.names}

        await until(left, 30, "the stopped host has left the register")
        ordered = await one[one.names[0]].rollback()
        assert set((await one.verified(one.names[1], id=ordered.id)).cells) == {*one.names, *two.names}


async def test_without_the_store_a_host_of_several_serves_v2_and_comes_back(
    hosts: Hosts, postgres: PostgresServer
) -> None:
    one, two = hosts
    async with Crowd(two.ws, CLIENTS) as clients:
        await one[one.names[0]].set(100)
        far = two[two.names[0]]

        async def on(path: str) -> bool:
            return {session.path for session in await far.sessions()} == {path}

        await until(lambda: on("v3"), what="100 % on the other host")
        await asyncio.to_thread(postgres.stop)
        await until(lambda: on("v2"), 30, "v2 without the store")
        assert (await far.view()).lock is None
        await postgres.start()
        await until(lambda: on("v3"), 30, "v3 again")
        assert all(client.is_open for client in clients)


async def test_hosts_that_disagree_on_the_flag_do_not_start_together(hosts: Hosts, tmp_path: Path) -> None:
    one, _ = hosts
    with pytest.raises(BenchError, match="the service has ended"):
        async with fleet(tmp_path, 1, store=store_of(one), secret=SECRET, forced="false"):
            pass
    assert one.lives
    assert "cells that share a store must agree on it" in (tmp_path / "service.log").read_text()


async def test_counts_are_of_the_fleet_and_lists_name_the_cells_of_other_hosts(hosts: Hosts) -> None:
    one, two = hosts
    (first, second), (far,) = one.names, two.names
    async with Crowd(one.ws, CLIENTS), Crowd(one.ws, CLIENTS), Crowd(two.ws, CLIENTS):
        for desk, elsewhere in ((one[first], [far]), (one[second], [far]), (two[far], [first, second])):

            async def counted(desk: CellDesk = desk) -> bool:
                preview = (await desk.get("/api/rollout/preview?percentage=100")).json()
                found = (preview["users_to_v3"], preview["sessions_to_v3"], preview["missing_cells"])
                return found == (2 * CLIENTS, 3 * CLIENTS, [])  # users once on each host

            await until(counted, what="a preview of both hosts")

            async def shown(desk: CellDesk = desk) -> bool:
                stable = (await desk.view()).paths[0]
                return (stable.users, stable.sessions) == (2 * CLIENTS, 3 * CLIENTS)

            await until(shown, what="the figures of both hosts")
            sessions = await desk.get("/api/sessions")
            assert sessions.headers["crossfade-missing-cells"] == ", ".join(elsewhere)
            here = (3 - len(elsewhere)) * CLIENTS if desk.cell != far else CLIENTS
            assert len(sessions.json()) == here
