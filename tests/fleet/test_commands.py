"""A command given to one cell is in force in all of them, and two operators on two cells cannot confuse the record."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest

from ops.chaos.fleet import CellDesk, Fleet, until
from tests.fleet.clients import Crowd

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CLIENTS = 60
COMMANDS = 40


async def test_a_command_given_to_one_cell_is_in_force_in_all(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS) as clients:
        revision = (await idle["b"].set(100)).revision

        async def everywhere() -> bool:
            views = [await idle[name].view() for name in idle.names]
            return all(
                (each.revision, each.percentage, each.moving) == (revision, 100, 0)
                and {cell.revision for cell in each.cells} == {revision}
                and sum(cell.sessions for cell in each.cells) == CLIENTS
                for each in views
            )

        await until(everywhere, what="100 % in all cells")
        for name in idle.names:
            view = await idle[name].view()
            sessions = await idle[name].sessions()
            assert {session.path for session in sessions} == {"v3"}
            assert len(sessions) == CLIENTS
            assert {session.cell for session in sessions} == {cell.name for cell in view.cells if cell.sessions}
        assert all(client.is_open for client in clients)


async def test_any_cell_answers_for_all(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS) as clients:
        await asyncio.gather(*(client.ask("hello") for client in clients))
        per_cell = Counter(dict.fromkeys(idle.names, 0))
        per_cell.update(session.cell for session in await idle["a"].sessions())

        async def counted() -> bool:
            views = [await idle[name].view() for name in idle.names]
            return all(
                {cell.name: cell.sessions for cell in view.cells} == dict(per_cell)
                and sum(path.sessions for path in view.paths) == CLIENTS
                and sum(path.messages for path in view.paths) >= CLIENTS
                for view in views
            )

        await until(counted, what="every cell shows the sum")
        (stable, _) = (await idle["c"].view()).paths
        assert stable.p50_ms is not None
        text = (await idle["d"].get("/metrics")).text
        for name in idle.names:
            assert f'crossfade_sessions{{cell="{name}",path="v2"}} {float(per_cell[name])}' in text
        found = (await idle["a"].get("/api/users/user-7")).json()
        assert (found["path"], len(found["sessions"])) == ("v2", 1)
        preview = (await idle["b"].get("/api/rollout/preview?percentage=100")).json()
        assert (preview["users_to_v3"], preview["sessions_to_v3"]) == (CLIENTS, CLIENTS)


async def test_a_user_with_sockets_in_several_cells_counts_once_whoever_is_asked(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS), Crowd(idle.ws, CLIENTS), Crowd(idle.ws, CLIENTS):
        cells_of_user = Counter(name for name, _ in {(s.user_id, s.cell) for s in await idle["a"].sessions()})
        assert max(cells_of_user.values()) > 1, "nobody has sockets in two cells, so nothing was shown"

        async def counted() -> bool:
            views = [await idle[name].view() for name in idle.names]
            return all((view.paths[0].users, view.paths[0].sessions) == (CLIENTS, 3 * CLIENTS) for view in views)

        await until(counted, what="every cell counts each user once")
        for name in idle.names:
            found = (await idle[name].get("/api/users/user-7")).json()
            assert (len(found["sessions"]), found["missing_cells"]) == (3, [])
            preview = (await idle[name].get("/api/rollout/preview?percentage=100")).json()
            assert (preview["users_to_v3"], preview["sessions_to_v3"]) == (CLIENTS, 3 * CLIENTS)
            text = (await idle[name].get("/metrics")).text
            assert all(f'crossfade_sessions{{cell="{cell}",path="v2"}}' in text for cell in idle.names)
            errors = await idle[name].get("/api/errors")
            assert (errors.status_code, "crossfade-missing-cells" in errors.headers) == (200, False)


async def test_lists_name_the_cells_that_they_do_not_speak_of(idle: Fleet) -> None:
    idle.signal("d", signal.SIGSTOP)
    try:

        async def named() -> bool:
            answer = await idle["a"].get("/api/sessions")
            return bool(answer.headers.get("crossfade-missing-cells") == "d")

        await until(named, what="d is missing in the list")
        assert (await idle["b"].get("/api/errors")).headers["crossfade-missing-cells"] == "d"
        assert (await idle["c"].get("/api/users/user-7")).json()["missing_cells"] == ["d"]
        assert (await idle["c"].get("/api/rollout/preview?percentage=9")).json()["missing_cells"] == ["d"]
    finally:
        idle.signal("d", signal.SIGCONT)


async def test_two_operators_on_two_cells_lose_no_update_and_a_refusal_names_the_winner(idle: Fleet) -> None:
    before = (await idle["a"].view()).revision

    async def operate(desk: CellDesk, first: int) -> tuple[list[int], list[dict[str, object]]]:
        done, refused = [], []
        for number in range(COMMANDS):
            view = await desk.view()
            answer = await desk.command("percentage", view.revision, body={"percentage": (first + number) % 100 + 1})
            if answer.status_code == 200:
                done.append(int(answer.headers["etag"].strip('"')))
            else:
                assert answer.status_code == 412, answer.text
                refused.append(answer.json())
        return done, refused

    (one, no), (two, nor) = await asyncio.gather(operate(idle["a"], 0), operate(idle["c"], 50))
    assert not set(one) & set(two)
    assert len(one) + len(two) + len(no) + len(nor) == 2 * COMMANDS
    assert no or nor, "they never met, so nothing was shown"
    assert all(str(refusal["what"]).startswith(("set", "start")) and refusal["who"] for refusal in (*no, *nor))
    last = await idle["b"].view()
    assert last.revision == before + len(one) + len(two)
    revisions = [entry.revision for entry in (await idle.audit("d")).items]
    assert set(revisions) >= {*one, *two}


async def test_a_pin_set_in_one_cell_holds_in_all(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS):
        await idle["a"].set(0)
        chosen = {session.cell: session.user_id for session in await idle["a"].sessions()}
        try:
            for user_id in chosen.values():
                answer = await idle["d"].put(f"/api/users/{user_id}/pin", path="v3", reason="beta")
                assert answer.status_code == 200, answer.text

            async def moved() -> bool:
                return {s.user_id for s in await idle["b"].sessions() if s.path == "v3"} == set(chosen.values())

            await until(moved, what="the pinned users are on v3")
        finally:
            for user_id in chosen.values():
                await idle["a"].delete(f"/api/users/{user_id}/pin")


async def test_a_build_loaded_by_one_cell_is_served_by_all_and_by_those_started_later(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS) as clients:
        await idle["a"].set(50)
        answer = await idle["c"].post("/api/paths/v3/load", build="second", live=True)
        assert answer.status_code == 200, answer.text
        assert answer.json()["build"] == "second"
        assert all(client.is_open for client in clients)

        async def everywhere() -> bool:
            views = [await idle[name].view() for name in idle.names]
            return {path.build for view in views for path in view.paths if path.path == "v3"} == {"second"}

        await until(everywhere, what="all serve the new build")
        await asyncio.gather(*(client.close() for client in clients))
    idle.signal("b", signal.SIGKILL)
    await idle.complete()
    await until(everywhere, what="the restarted cell serves it too")
