"""For all tests: the stores that they run over, and what happens where another program is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from ops.chaos.postgres import PostgresServer, postgres_folder
from tests import programs


def pytest_configure(config: pytest.Config) -> None:
    programs.register(config)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    programs.require("postgresql")
    with postgres_folder() as folder:
        server = PostgresServer(folder)
        server.make()
        yield server
        server.stop()


@pytest_asyncio.fixture
async def postgres(postgres_cluster: PostgresServer) -> PostgresServer:
    """The server, running, whatever the test before did to it."""
    await postgres_cluster.start()
    return postgres_cluster


@pytest_asyncio.fixture
async def postgres_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """An empty database."""
    url = await postgres.database()
    yield url
    await postgres.start()
    await postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """`CROSSFADE_STORE` of an empty store: each test that asks for it runs over both."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else f"sqlite:{tmp_path}"
