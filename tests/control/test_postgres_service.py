"""The real service on a real PostgreSQL that stops under load: nobody is dropped, a rollback holds, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.control.lockfile import NAME
from app.data_folder import OPERATOR_TOKEN
from app.store.sql import SqlStore
from ops.bench.processes import free_port
from ops.chaos.outage import Way, away
from ops.chaos.postgres import PostgresServer
from tests.cli.test_real_service import Terminal
from tests.store.stores import opened

pytestmark = pytest.mark.slow

CLIENTS = 40
FOREVER_S = "3600"
WITHIN_S = 30.0
POLL_S = 0.05


@pytest.fixture
def terminal(tmp_path: Path, postgres_url: str) -> Iterator[Terminal]:
    """A shell beside a service that keeps its record in PostgreSQL."""
    port = free_port()
    terminal = Terminal(tmp_path, port)
    terminal.environ["CROSSFADE_STORE"] = postgres_url
    service = terminal.start("serve")
    try:
        assert service.stdout is not None
        assert any("Crossfade serves" in line for line in service.stdout)  # its log is there, too
        yield terminal
    finally:
        service.terminate()
        output, _ = service.communicate(timeout=40)
        assert service.returncode == 0, output


class Operator:
    """Commands as a person types them, and what they say."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    async def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(self._terminal.run, *words)

    async def done(self, *words: str) -> str:
        result = await self.run(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    async def status(self) -> dict[str, Any]:
        view: dict[str, Any] = json.loads(await self.done("status", "--json"))
        return view

    async def paths(self) -> list[str]:
        """Of the open sessions."""
        return [session["path"] for session in json.loads(await self.done("sessions", "--json"))]

    async def refusal(self) -> httpx.Response:
        """Of a change, as the API words it."""
        token = (Path(self._terminal.environ["CROSSFADE_DATA"]) / OPERATOR_TOKEN).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://{self._terminal.environ['CROSSFADE_BIND']}/api/rollout"
        async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=WITHIN_S) as api:
            etag = (await api.get(url)).headers["etag"]
            body = {"percentage": 10, "reason": "not now"}
            return await api.post(f"{url}/percentage", json=body, headers={"If-Match": etag})


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(WITHIN_S):
        while not await true():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(POLL_S)


async def is_stored(store: SqlStore, phase: str) -> bool:
    record = await store.load_record()
    return record is not None and bool(msgspec.json.decode(record.text)["phase"] == phase)


async def verbs(store: SqlStore) -> list[str]:
    """Of the audit, the newest first."""
    return [entry.what.split()[0] for entry in (await store.load_audit()).items]


@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_postgres_is_away_under_load_and_comes_back(
    terminal: Terminal, postgres: PostgresServer, postgres_url: str, tmp_path: Path, how: Way
) -> None:
    ann, lock = Operator(terminal), tmp_path / "data" / NAME
    load = terminal.start("loadtest", "--clients", str(CLIENTS), "--seconds", FOREVER_S, "--json")

    async def all_are_there() -> bool:
        return len(await ann.paths()) == CLIENTS

    try:
        await until(all_are_there)
        await ann.done("set", "50", "--reason", "half")
        assert set(await ann.paths()) == {"v2", "v3"}

        async with away(postgres, how):
            assert (await ann.run("set", "10", "--reason", "not now")).returncode == 1
            refusal = await ann.refusal()
            assert (refusal.status_code, refusal.headers["content-type"]) == (503, "application/problem+json")
            assert (await ann.status())["percentage"] == 50
            assert "Everyone is on v2. Rollback verified" in await ann.done("rollback", "--reason", "errors")
            assert await ann.paths() == ["v2"] * CLIENTS
            assert (await ann.status())["phase"] == "rolled_back"
            assert lock.exists()
            assert (await ann.run("unlock", "--reason", "not without the store")).returncode == 1

        assert load.poll() is None, "the load ended before the store was back"
        async with opened(postgres_url) as store:
            await until(lambda: is_stored(store, "rolled_back"))
            assert await verbs(store) == ["rollback", "start"]
            (merged, _) = (await store.load_audit()).items
            assert (merged.reason, merged.revision, merged.before["percentage"]) == ("errors", 2, 50)
            assert await ann.paths() == ["v2"] * CLIENTS
            await ann.done("unlock", "--reason", "fixed")
            assert not lock.exists()
            await ann.done("set", "10", "--reason", "again")
            assert await verbs(store) == ["start", "unlock", "rollback", "start"]
            receipt = await store.load_rollback()
            assert receipt is not None
            assert json.loads(receipt.text)["rollback"]["verified_at"] is not None
        load.send_signal(signal.SIGINT)
        output, _ = await asyncio.to_thread(load.communicate, timeout=WITHIN_S)
    finally:
        load.kill()
        load.communicate()
    report = json.loads(output.splitlines()[-1])
    assert report["drops"] == report["broken_rules"] == report["errors"] == {}
    assert report["finished"] == report["sent"] > CLIENTS
