"""Services of four and of three cells that tests share, and two hosts on one PostgreSQL: at rest before each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

import pytest
import pytest_asyncio

from ops.chaos.fleet import Fleet, fleet, until
from ops.chaos.postgres import PostgresServer

SECRET = "shared by both hosts"
Hosts: TypeAlias = tuple[Fleet, Fleet]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def four(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path_factory.mktemp("four"), 4) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def idle(four: Fleet) -> Fleet:
    """Four cells."""
    await come_to_rest(four)
    return four


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    folder = tmp_path_factory.mktemp("trio")
    async with fleet(folder, 3, environ={"PYTHONPATH": str(folder)}) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def three(trio: Fleet) -> Fleet:
    """Three cells, whose workers find modules in the service's folder. A test may kill cells, not their parent."""
    await come_to_rest(trio)
    return trio


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def both(postgres_cluster: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hosts]:
    await postgres_cluster.start()
    url = await postgres_cluster.database()
    folder = tmp_path_factory.mktemp("hosts")
    async with (
        fleet(folder / "one", 2, store=url, secret=SECRET) as one,
        fleet(folder / "two", 1, store=url, secret=SECRET) as two,
    ):
        yield one, two
    await postgres_cluster.drop(url)


@pytest_asyncio.fixture(loop_scope="session")
async def hosts(both: Hosts, postgres: PostgresServer) -> Hosts:
    """Two cells on one host and one on another, which a test may pause, not stop; the server runs."""
    one, two = both
    await met(one, two)
    await come_to_rest(one)
    return both


def store_of(service: Fleet) -> str:
    """Its `CROSSFADE_STORE`."""
    return service.environ["CROSSFADE_STORE"]


async def met(*services: Fleet) -> None:
    """Wait until every cell of these hosts knows of all others."""
    everybody = {name for service in services for name in service.names}

    async def known() -> bool:
        views = [await service[name].view() for service in services for name in service.names]
        return all({cell.name for cell in view.cells} == everybody for view in views)

    await until(known, what="every cell knows of all others")


async def come_to_rest(service: Fleet) -> None:
    """All cells serve, at 0 %, without a lock or a session, whatever the test before left."""
    await service.complete()
    desk = service[service.names[0]]
    view = await desk.view()
    if view.lock is not None:
        answer = await desk.command("unlock", view.revision)
        assert answer.status_code == 200, answer.text
    elif view.percentage:
        await desk.set(0)

    async def at_rest() -> bool:
        views = [await service[name].view() for name in service.names]
        sessions = sum(path.sessions for view in views for path in view.paths)
        return sessions == 0 and all((view.percentage, view.lock) == (0, None) for view in views)

    await until(at_rest, what="all cells are at rest")
