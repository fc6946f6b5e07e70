"""A cell of another host that stands still for good: given up, the rollback is verified without it; back, it obeys."""

from __future__ import annotations

import json
import signal
from typing import Any

import asyncpg
import pytest

from ops.chaos.fleet import until
from tests.fleet.clients import Crowd
from tests.fleet.conftest import Hosts, store_of

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CLIENTS = 10


async def test_a_cell_that_is_given_up_is_not_waited_for_and_obeys_when_it_is_back(hosts: Hosts) -> None:
    one, two = hosts
    (first, second), (far,) = one.names, two.names

    async def known(names: set[str]) -> bool:
        views = [await one[name].view() for name in one.names]
        return all({cell.name for cell in view.cells} == names for view in views)

    await until(lambda: known({first, second, far}), what="the hosts know each other")
    async with Crowd(two.ws, CLIENTS) as away:
        await one[first].set(100)

        async def there() -> bool:
            return {session.path for session in await two[far].sessions()} == {"v3"}

        await until(there, what="100 % on the other host")
        two.signal(far, signal.SIGSTOP)
        try:
            ordered = await one[second].rollback()
            status, output = await one.run("forget", far, "--reason", "its host is gone")
            assert status == 1
            assert f"cell {far} was heard " in output
            assert "it can be given up after 30 s of silence" in output
            waiting = (await one[second].view()).last_rollback
            assert waiting is not None
            assert waiting.verified_at is None
            await aged(store_of(one), far)
            status, output = await one.run("forget", far, "--reason", "its host is gone")
            assert (status, output.splitlines()[0]) == (0, f"{far} is given up; remaining cells: {first}, {second}")
            done = await one.verified(first, id=ordered.id)
            assert set(done.cells) == {first, second}
            for name in one.names:
                receipt = (await one[name].get(f"/api/rollbacks/{done.id}")).json()
                (lost,) = receipt["given_up"]
                assert (lost["cell"], lost["reason"]) == (far, "its host is gone")
                assert done.at < lost["at"]
                assert lost["by"] == receipt["timeline"][-1]["who"]
            status, output = await one.run("events", "--what", "forget", "--json")
            assert [entry["what"] for entry in json.loads(output)["items"]] == [f"forget cell {far}"]
        finally:
            two.signal(far, signal.SIGCONT)
        await until(lambda: known({first, second, far}), what="it is back in the register")

        async def obeys() -> bool:
            view = await two[far].view()
            return view.lock is not None and {session.path for session in await two[far].sessions()} == {"v2"}

        await until(obeys, what="it follows the lock")
        assert all(client.is_open for client in away)


async def aged(url: str, cell: str) -> None:
    """Let half a minute of its silence be over."""
    connection: Any = await asyncpg.connect(url)  # type: ignore[no-untyped-call]
    await connection.execute("UPDATE cells SET seen_at = seen_at - 30 WHERE name = $1", cell)
    await connection.close()
