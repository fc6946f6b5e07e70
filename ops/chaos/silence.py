"""What page, API and exit code say about a rollback that a stopped cell has not received, and what they say once the
cell runs again.

The texts are kept as a person reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from ops.chaos.client import ChaosClient
from ops.chaos.figures import Figure, equal, held, said
from ops.chaos.fleet import Fleet, fleet, until
from ops.chaos.postgres import running_postgres

PROOF = "silent cell"
USERS = 60
SECRET = "shared by both hosts"
IN_FORCE, DONE = 4, 0
"""Exit codes for a rollback that is in force but not verified, and for a verified one."""


async def of_one_host(folder: Path) -> AsyncIterator[Figure]:
    """One of four cells is stopped."""
    async with fleet(folder, 4) as service:
        async for figure in stand_still([service], service):
            yield figure


async def of_another_host(folder: Path) -> AsyncIterator[Figure]:
    """One of the two cells of another host is stopped."""
    async with contextlib.AsyncExitStack() as stack:
        url = await (await stack.enter_async_context(running_postgres())).database()
        one, two = [
            await stack.enter_async_context(fleet(folder / name, 2, store=url, secret=SECRET))
            for name in ("one", "two")
        ]
        everybody = {*one.names, *two.names}

        async def met() -> bool:
            return {cell.name for cell in (await one[one.names[0]].view()).cells} == everybody

        await until(met, what="the hosts know of each other")
        async for figure in stand_still([one, two], two):
            yield figure


async def stand_still(hosts: list[Fleet], host: Fleet) -> AsyncIterator[Figure]:
    """Roll back at the first host while the fullest cell of `host` is stopped, and look again when it runs."""
    asked = hosts[0]
    cells = sorted(name for each in hosts for name in each.names)
    users = [ChaosClient(each.ws, f"user-{number}") for each in hosts for number in range(USERS)]
    await asyncio.gather(*(user.connect() for user in users))
    held_by = Counter(session.cell for session in await host[host.names[0]].sessions())
    still = max(host.names, key=lambda name: held_by[name])
    desk = asked[next(name for name in asked.names if name != still)]
    await desk.set(100)

    async def all_moved() -> bool:
        return all(path.sessions == (len(users) if path.path == "v3" else 0) for path in (await desk.view()).paths)

    await until(all_moved, what="everybody is on v3, and every cell has said so")
    where = "of 4 cells" if len(hosts) == 1 else "of the 2 cells of another host"
    host.signal(still, signal.SIGSTOP)
    try:
        silent = f"in force in 3 of 4 cells; {still} silent for"
        code, words = await asked.run("rollback", "--reason", f"{still} stands still")
        yield equal(PROOF, f"one {where} SIGSTOPped: exit code of `crossfade rollback`", code, IN_FORCE)
        yield said(PROOF, "its words", words.strip(), silent, "not verified", never=["Rollback verified"])
        last = (await desk.view()).last_rollback
        assert last is not None  # it was answered for
        seen = f"verified_at {last.verified_at}, cells {last.cells}, silent_cells {last.silent_cells}"
        expected = f"verified_at None, cells {[name for name in cells if name != still]}, silent_cells {[still]}"
        yield equal(PROOF, "GET /api/rollout: last_rollback", seen, expected)
        page = words_of((await desk.get("/", accept="text/html")).text, "rollback")
        heard = len(users) - held_by[still]
        moved = f"sessions moved {heard} of {len(users)}"
        not_yet = ("In force in 3 of 4 cells, not verified", f"{still} silent for", moved)
        yield said(PROOF, "the page, beside the button", page, *not_yet, never=["Verified"])
    finally:
        host.signal(still, signal.SIGCONT)
    done = await asked.verified(desk.cell)
    seen = f"cells {done.cells}, silent_cells {done.silent_cells}, {done.sessions_moved} moved, {done.closed} closed"
    expected = f"cells {cells}, silent_cells [], {len(users)} moved, 0 closed"
    yield equal(PROOF, "after SIGCONT, GET /api/rollout: last_rollback, verified", seen, expected)
    code, words = await asked.run("rollback", "--reason", "again")
    yield equal(PROOF, "exit code of `crossfade rollback`, again", code, DONE)
    yield said(PROOF, "its words", words.strip(), "Rollback verified", never=["silent"])
    page = words_of((await desk.get("/", accept="text/html")).text, "rollback")
    yield said(PROOF, "the page, beside the button", page, "Verified", "in force in 4 of 4 cells", never=["silent"])
    on_v3 = [session for each in hosts for session in await each[each.names[0]].sessions() if session.path == "v3"]
    dropped = [f"{user.user_id} was closed" for user in users if not user.is_open]
    await asyncio.gather(*(user.close() for user in users))
    wrong = [*dropped, *(f"{session.user_id} is on v3" for session in on_v3)]
    yield held(PROOF, "sockets open throughout", f"{len(users)} open, 0 on v3", wrong, "none closed, none on v3")


def words_of(page: str, section: str) -> str:
    """The text that a person reads in the section with this id."""
    found = re.search(rf'<section id="{section}".*?</section>', page, re.DOTALL)
    text = re.sub(r"<[^>]+>", " ", found[0] if found else page)
    return " ".join(html.unescape(text).split())
