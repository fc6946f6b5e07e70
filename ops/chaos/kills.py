"""A service of two cells that is killed again and again while two operators work, and what it remembers each time.

Every kill is a SIGKILL to the parent or to all of its processes; `agreement` judges the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx
import msgspec
import psutil

from app.control.lockfile import LockFile
from app.control.record import place_of, read_record
from app.store.sql import SqlStore, sqlite_store
from ops.bench.processes import BenchError
from ops.chaos.agreement import Given, Verb, contradictions
from ops.chaos.client import ChaosClient
from ops.chaos.figures import Figure, held
from ops.chaos.fleet import Fleet, fleet, until
from ops.chaos.service import FACTORIES
from rollout.cohort import bucket
from rollout.state import Lock, Rollout
from rollout.views import AuditEntry

FLAG = "USE_WEBSOCKET_SUPERVISOR_V3"
CELLS = 2
USERS = 24
PAGE = 200
WITHIN_COMMAND_S = 0.015
"""Latest moment, in seconds after a command was sent, of a kill aimed at it; a command takes a few milliseconds."""
ANY_TIME_S = 1.0


class Kills(msgspec.Struct, kw_only=True):
    """The result of a run."""

    seed: str
    kills: int = 0
    answered: int = 0
    refused: int = 0
    cut_off: Counter[str] = msgspec.field(default_factory=Counter)
    """Number of commands that a kill interrupted, by verb and by what of them was on the disk."""
    wrong: list[str] = []
    """What did not agree, with the number of the kill after which it was found."""

    def words(self) -> str:
        cut = ", ".join(f"{count} x {what}" for what, count in sorted(self.cut_off.items()))
        return (
            f"{self.kills} kills, {self.answered} commands answered, {self.refused} refused; cut off: {cut or 'none'}"
        )


async def proof(folder: Path, kills: int, seed: str, say: Callable[[str], None]) -> AsyncIterator[Figure]:
    """The run as figures."""
    run = await kill_again_and_again(folder, kills, seed, say)
    asked = f"kill -9 of a service of {CELLS} cells at {run.kills} points of a rollout (--seed {seed})"
    target = "record, audit, page, answers and lock agree after each"
    yield held("kills", asked, run.words(), run.wrong, target)
    inside = sum(count for what, count in run.cut_off.items() if what.startswith("rollback"))
    between = sum(count for what, count in run.cut_off.items() if "not saved" in what)
    seen = f"{inside}, {between} of them between the lock on the disk and the store"
    yield Figure(proof="kills", asked="rollbacks that a kill cut off", seen=seen, verdict="reported")


class Disk(msgspec.Struct, frozen=True):
    """What a killed service has left on the disk."""

    record: Rollout
    audit: list[AuditEntry]
    """The whole audit, the oldest entry first."""
    lock: Lock | None


async def kill_again_and_again(folder: Path, kills: int, seed: str, say: Callable[[str], None] = print) -> Kills:
    """Do the whole run. Raises `BenchError` if the service does not come back."""
    run = Kills(seed=seed)
    commands: list[Given] = []
    for turn in range(kills):
        chance = random.Random(f"{seed}-{turn}")
        async with slow_fleet(folder) as service:
            run.wrong += [f"after kill {turn}: {each}" for each in await disagreements(service, folder, commands)]
            begun = len(commands)
            await work_until_killed(service, turn, chance, commands)
        run.kills += 1
        left = await look_at(folder)
        found = contradictions(left.record, left.audit, commands, locked=left.lock is not None)
        run.wrong += [f"on the disk after kill {turn + 1}: {each}" for each in found]
        cut = [how_far(each, left) for each in commands[begun:] if each.status is None]
        run.cut_off.update(cut)
        if run.wrong:
            break  # one contradiction would be found again after every kill
        say(f"kill {turn + 1}: revision {left.record.revision}, {left.record.phase}; cut off: {', '.join(cut) or '-'}")
    async with slow_fleet(folder) as service:
        run.wrong += [f"at the end: {each}" for each in await disagreements(service, folder, commands)]
    run.answered = sum(each.status == 200 for each in commands)
    run.refused = sum(each.status not in (None, 200) for each in commands)
    return run


def slow_fleet(folder: Path) -> contextlib.AbstractAsyncContextManager[Fleet]:
    """Start it with supervisors that say which path answers."""
    return fleet(
        folder,
        CELLS,
        environ={"PYTHONPATH": str(FACTORIES)},
        paths_v2="slow_supervisor:create_v2",
        paths_v3="slow_supervisor:create_v3",
    )


async def work_until_killed(service: Fleet, turn: int, chance: random.Random, commands: list[Given]) -> None:
    """Two operators give commands to two cells until the service is killed, at any moment or during a command."""
    everything = service.everything()
    victims = everything[:1] if chance.random() < 0.5 else chance.sample(everything, len(everything))
    loop = asyncio.get_running_loop()

    def kill() -> None:
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # type: ignore[no-untyped-call]

    aim: Verb | None = chance.choice(("rollback", "rollback", "percentage", "unlock", None))
    wait = chance.randrange(10)

    def sent(command: Given) -> None:
        nonlocal aim, wait
        commands.append(command)
        wait -= 1
        if wait < 0 and command.verb == aim:
            aim = None
            loop.call_later(chance.uniform(0, WITHIN_COMMAND_S), kill)

    if aim is None:
        loop.call_later(chance.uniform(0, ANY_TIME_S), kill)
    operators = [
        Operator(service, cell, f"{turn}-{cell}", random.Random(f"{chance.random()}-{cell}"), sent)
        for cell in service.names
    ]
    await asyncio.gather(*(operator.work() for operator in operators))
    _, alive = await asyncio.to_thread(psutil.wait_procs, everything, 10)
    if alive:
        raise BenchError(f"outlived the kill: {alive}")


class Operator:
    """Give commands to one cell until it is gone, mostly such that set a lock or lift it."""

    def __init__(
        self, service: Fleet, cell: str, name: str, chance: random.Random, sent: Callable[[Given], None]
    ) -> None:
        self._service = service
        self._desk = service[cell]
        self._name = name
        self._random = chance
        self._sent = sent
        self._count = 0

    async def work(self) -> None:
        """End when the service does not answer any more."""
        with contextlib.suppress(httpx.TransportError, BenchError, psutil.NoSuchProcess):
            while self._service.lives:
                await self._act()

    async def _act(self) -> None:
        view = await self._desk.view()
        self._count += 1
        command = Given(self._choose(locked=view.lock is not None), f"{self._name}-{self._count}")
        command.percentage = self._random.randint(1, 100)
        wanted = {"percentage": command.percentage} if command.verb == "percentage" else {}
        revision = None if command.verb == "rollback" else view.revision
        answer = await self._desk.command(
            command.verb, revision, before=lambda: self._sent(command), body={"reason": command.reason, **wanted}
        )
        command.status = answer.status_code

    def _choose(self, *, locked: bool) -> Verb:
        often: dict[Verb, int] = {"rollback": 1, "undo": 3, "unlock": 6} if locked else {"percentage": 6, "rollback": 4}
        (verb,) = self._random.choices(list(often), list(often.values()))
        return verb


def how_far(command: Given, left: Disk) -> str:
    """What of a command without an answer was on the disk when everything stopped."""
    if any(entry.reason == command.reason for entry in left.audit):
        return f"{command.verb} saved"
    if command.verb == "rollback" and left.lock is not None and left.lock.reason == command.reason:
        return "rollback locked on the disk and not saved"
    return f"{command.verb} not begun on the disk"


# -- what there is to look at -----------------------------------------------------------------------------------------


async def disagreements(service: Fleet, folder: Path, commands: Sequence[Given]) -> list[str]:
    """The contradictions between the store, the audit, every cell's page, and the answers to clients."""
    wrong: list[str] = []
    left = await settled(service, folder)
    wrong += contradictions(left.record, left.audit, commands, locked=False)
    if (left.lock is not None) != (left.record.lock is not None):
        wrong.append(f"phase {left.record.phase}, and on the disk {left.lock}")
    for name in service.names:
        view = await service[name].view()
        shown = {"phase": view.phase, "percentage": view.percentage, "stage": view.stage}
        if (view.revision, shown) != (left.record.revision, place_of(left.record)):
            wrong.append(f"cell {name} shows revision {view.revision}, {shown}; the record is {left.record}")
    answered_by = await served(service)
    locked = left.record.lock is not None
    for user_id, path in answered_by.items():
        on_canary = not locked and bucket(FLAG, user_id) <= left.record.percentage
        if path != ("v3" if on_canary else "v2"):
            wrong.append(f"{user_id} is answered by {path} at {place_of(left.record)}")
    return wrong


async def settled(service: Fleet, folder: Path) -> Disk:
    """What is on the disk once a lock that was found at the start is in the record."""

    async def quiet() -> Disk | None:
        before = await look_at(folder)
        views = [await service[name].view() for name in service.names]
        return before if {view.revision for view in views} == {before.record.revision} else None

    found = await until(quiet, what="every cell has the record's revision")
    assert found is not None  # `until` waited for it
    return found


async def served(service: Fleet) -> dict[str, str]:
    """The path that answers each of some new users, over a socket of its own."""
    users = [ChaosClient(service.ws, f"share-{number}") for number in range(USERS)]
    await asyncio.gather(*(user.connect() for user in users))
    asked = [user.say("sleep=0") for user in users]
    await asyncio.gather(*(user.quiet() for user in users))
    await asyncio.gather(*(user.close() for user in users))
    return {user.user_id: user.history.paths.get(id, "nobody") for user, id in zip(users, asked, strict=True)}


async def look_at(folder: Path) -> Disk:
    """The store and the lock file of a service."""
    return await read(sqlite_store(folder / "data"), LockFile(folder / "data").read())


async def read(store: SqlStore, lock: Lock | None = None) -> Disk:
    """The content of a store that others use or have used; `lock` is the lock that was on the disk before."""
    await store.open()
    try:
        stored = await store.load_record()
        page = await store.load_audit(None, PAGE)
        audit = [*page.items]
        while page.next is not None:
            page = await store.load_audit(page.next, PAGE)
            audit += page.items
    finally:
        await store.close()
    return Disk(Rollout() if stored is None else read_record(stored), audit[::-1], lock)
