"""A rollback over several cells: in force in all at once, and verified by what every one of them has observed."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest

from ops.chaos.fleet import Fleet, until
from tests.fleet.clients import Crowd

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CLIENTS = 60


async def test_a_rollback_in_one_cell_is_verified_in_all(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS) as clients:
        await idle["a"].set(100)
        await all_on(idle, "v3")
        ordered = await idle["c"].rollback()
        done = await idle.verified("c", id=ordered.id)
        assert (done.cells, done.silent_cells) == (list(idle.names), [])
        assert (done.sessions_moved, done.sessions_to_move, done.closed, done.interrupted) == (CLIENTS, CLIENTS, 0, 0)
        assert done.new_stopped_ms is not None
        assert done.existing_moved_ms is not None
        assert 0 < done.new_stopped_ms <= done.existing_moved_ms < 5000
        await all_on(idle, "v2")
        for name in idle.names:
            assert await idle.verified(name, id=ordered.id) == done
        assert all(client.is_open for client in clients)
        answers = await asyncio.gather(*(client.ask("still there?") for client in clients))
        assert {events[-1]["type"] for events in answers} == {"agent_completed"}


async def test_a_cell_that_stands_still_is_named_and_waited_for(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS) as clients:
        await idle["a"].set(100)
        await all_on(idle, "v3")
        held = Counter(session.cell for session in await idle["a"].sessions())
        still, _ = held.most_common(1)[0]  # whichever the kernel gave most sockets to
        others = [name for name in idle.names if name != still]
        idle.signal(still, signal.SIGSTOP)
        try:
            code, said = await idle.run("rollback", "--reason", f"{still} stands still")
            assert code == 4, said
            assert f"in force in 3 of 4 cells; {still} silent for" in said
            view = await idle[others[-1]].view()
            assert view.last_rollback is not None
            assert view.last_rollback.verified_at is None
            assert (view.last_rollback.cells, view.last_rollback.silent_cells) == (others, [still])
            assert next(cell.silent_s for cell in view.cells if cell.name == still) > 5
        finally:
            idle.signal(still, signal.SIGCONT)
        done = await idle.verified(others[-1], id=view.last_rollback.id)
        assert (done.cells, done.silent_cells) == (list(idle.names), [])
        assert (done.sessions_moved, done.closed) == (CLIENTS, 0)
        assert done.existing_moved_ms is not None
        assert done.existing_moved_ms > 5000
        await all_on(idle, "v2")
        assert all(client.is_open for client in clients)


async def test_a_cell_that_wakes_up_admits_nobody_to_v3(idle: Fleet) -> None:
    await idle["a"].set(100)
    await in_force(idle, 100)
    before = await admissions(idle, "b")
    idle.signal("b", signal.SIGSTOP)
    others = [name for name in idle.names if name != "b"]
    try:
        ordered = await idle["a"].rollback()
        for name in others:
            idle.signal(name, signal.SIGSTOP)
        # These wait in the socket's queue, and b finds them together with the news when it wakes up.
        arriving = [asyncio.create_task(client.connect()) for client in Crowd(idle.ws, 10).clients]
        idle.signal("b", signal.SIGCONT)
        clients = [await task for task in arriving]
        assert await admissions(idle, "b") == before
    finally:
        for name in idle.names:
            idle.signal(name, signal.SIGCONT)
    assert {session.path for session in await idle["b"].sessions()} == {"v2"}
    await idle.verified("a", id=ordered.id)
    for client in clients:
        assert client.is_open
        await client.close()


async def test_without_the_bus_a_rollback_reaches_all_through_the_store(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS) as clients:
        await idle["a"].set(100)
        await all_on(idle, "v3")
        idle.process.send_signal(signal.SIGSTOP)  # type: ignore[no-untyped-call]
        try:
            ordered = await idle["c"].rollback()

            async def everywhere() -> bool:
                return all([(await idle[name].view()).lock is not None for name in idle.names])

            await until(everywhere, what="locked in all cells")
            last = (await idle["c"].view()).last_rollback
            assert last is not None
            assert (last.verified_at, last.silent_cells) == (None, ["a", "b", "d"])
        finally:
            idle.process.send_signal(signal.SIGCONT)  # type: ignore[no-untyped-call]
        done = await idle.verified("c", id=ordered.id)
        assert (done.cells, done.sessions_moved, done.closed) == (list(idle.names), CLIENTS, 0)
        assert all(client.is_open for client in clients)


async def admissions(service: Fleet, cell: str) -> float:
    """Admissions to v3 that this cell has counted."""
    text = (await service[cell].get("/metrics")).text
    lines = [
        line for line in text.splitlines() if line.startswith("crossfade_admissions_total") and f'cell="{cell}"' in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'path="v3"' in line)


async def in_force(service: Fleet, percentage: int) -> None:
    async def everywhere() -> bool:
        return {(await service[name].view()).percentage for name in service.names} == {percentage}

    await until(everywhere, what=f"{percentage} % in all cells")


async def all_on(service: Fleet, path: str) -> None:
    async def there() -> bool:
        return {session.path for session in await service["a"].sessions()} == {path}

    await until(there, what=f"all on {path}")
