"""Two hosts on one PostgreSQL: a command reaches both, and a rollback is verified by the cells of both."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from ops.bench.processes import BenchError
from ops.chaos.fleet import CellDesk, Fleet, fleet, until
from ops.chaos.postgres import PostgresServer
from tests.fleet.clients import Crowd

pytestmark = pytest.mark.slow

CLIENTS = 20
SECRET = "shared by both hosts"


@pytest_asyncio.fixture
async def hosts(tmp_path: Path, postgres_url: str) -> AsyncIterator[tuple[Fleet, Fleet]]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(fleet(tmp_path / "one", 2, store=postgres_url, secret=SECRET))
        two = await stack.enter_async_context(fleet(tmp_path / "two", 1, store=postgres_url, secret=SECRET))

        async def met() -> bool:
            everybody = {*one.names, *two.names}
            views = [await service[name].view() for service in (one, two) for name in service.names]
            return all({cell.name for cell in view.cells} == everybody for view in views)

        await until(met, what="every cell knows of all others")
        yield one, two


async def test_a_rollback_is_verified_by_the_cells_of_all_hosts(hosts: tuple[Fleet, Fleet]) -> None:
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
            assert (await one[first].command("rollback")).status_code == 200
            view = await one[first].view()
            assert view.last_rollback is not None
            assert (view.last_rollback.verified_at, view.last_rollback.silent_cells) == (None, [far])
            assert time.monotonic() - began < 5
        finally:
            two.signal(far, signal.SIGCONT)
        done = await one.verified(first)
        assert set(done.cells) == {*one.names, far}
        assert (done.sessions_moved, done.closed) == (2 * CLIENTS, 0)
        assert (await two.verified(far)).id == done.id
        assert {session.path for session in await two[far].sessions()} == {"v2"}
        assert all(client.is_open for client in (*near, *away))
        figures = (await two[far].view()).paths
        assert sum(path.sessions for path in figures) == 2 * CLIENTS


async def test_a_stopped_host_is_not_waited_for(hosts: tuple[Fleet, Fleet]) -> None:
    one, two = hosts
    two.process.terminate()  # type: ignore[no-untyped-call]

    async def alone() -> bool:
        return [cell.name for cell in (await one[one.names[0]].view()).cells] == one.names

    await until(alone, 30, "the stopped host has left the register")
    assert (await one[one.names[0]].command("rollback")).status_code == 200
    assert (await one.verified(one.names[1])).cells == one.names


async def test_without_the_store_a_host_of_several_serves_v2_and_comes_back(
    hosts: tuple[Fleet, Fleet], postgres: PostgresServer
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


async def test_hosts_that_disagree_on_the_flag_do_not_start_together(tmp_path: Path, postgres_url: str) -> None:
    async with fleet(tmp_path / "one", 2, store=postgres_url, secret=SECRET) as one:
        with pytest.raises(BenchError, match="the service has ended"):
            async with fleet(tmp_path / "two", 1, store=postgres_url, secret=SECRET, forced="false"):
                pass
        assert one.lives
        assert "cells that share a store must agree on it" in (tmp_path / "two" / "service.log").read_text()


async def test_counts_are_of_the_fleet_and_lists_name_the_cells_of_other_hosts(hosts: tuple[Fleet, Fleet]) -> None:
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
