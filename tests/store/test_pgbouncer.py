"""The store behind a real PgBouncer in session mode with its defaults: it refuses unknown settings in a start-up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text

from app.store.port import StoredRecord
from ops.bench.processes import free_port
from ops.chaos.fleet import until
from ops.chaos.postgres import PostgresServer, account, postgres_folder
from tests.programs import find_pgbouncer
from tests.store.stores import cells, entry, opened

pytestmark = pytest.mark.needs("pgbouncer")
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server} user=crossfade
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = session
"""


@pytest_asyncio.fixture
async def pooled_url(postgres: PostgresServer, postgres_url: str) -> AsyncIterator[str]:
    """The empty database, through PgBouncer."""
    program, port, user = find_pgbouncer(), free_port(), account()
    assert program is not None
    name = postgres_url.rpartition("/")[2]
    with postgres_folder() as folder:
        folder.chmod(0o755)
        file = folder / "pgbouncer.ini"
        file.write_text(CONFIGURATION.format(server=postgres.port, port=port))
        words = [program, "-q", *(["-u", user] if user else []), str(file)]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
        try:
            url = f"postgresql://crossfade@127.0.0.1:{port}/{name}"
            await until(lambda: _answers(url), what="PgBouncer answers")
            yield url
        finally:
            process.kill()
            await process.wait()


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    await connection.close()
    return True


async def test_pgbouncer_refuses_what_we_may_not_send(pooled_url: str) -> None:
    """So that the tests below mean something."""
    with pytest.raises(asyncpg.ProtocolViolationError, match="unsupported startup parameter"):
        await asyncpg.connect(pooled_url, server_settings={"statement_timeout": "1000"})  # type: ignore[no-untyped-call]


async def test_the_record_is_kept_and_changes_are_heard(pooled_url: str) -> None:
    async with cells(pooled_url, 2) as (one, two), aclosing(two.changes()) as changes:
        assert await anext(changes) == 0
        for revision in range(1, 4):
            await one.save_record(StoredRecord(revision, f"text {revision}"), revision - 1 or None, entry())
            assert await anext(changes) == revision
        assert await two.load_record() == StoredRecord(3, "text 3")
        assert await one.acquire_lease("leader", "a/1", 5.0)
        assert not await two.acquire_lease("leader", "b/1", 5.0)


async def test_a_connection_has_its_limits_there_too(pooled_url: str) -> None:
    async with opened(pooled_url, 3.0) as store:
        for engine, synchronous in ((store.control, "on"), (store.sessions, "off")):
            async with engine.connect() as connection:
                assert await connection.scalar(text("SHOW synchronous_commit")) == synchronous
                for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                    assert await connection.scalar(text(f"SHOW {limit}")) == "2500ms"
                assert await connection.scalar(text("SHOW application_name")) == "crossfade"
