"""A handover in each phase of a message: what waits, what is run again elsewhere, and what is interrupted.

One real service, one client per phase, all brought into their phase before the one blow that hits them all.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from ops.chaos.client import ChaosClient
from ops.chaos.service import ChaosService, chaos_service

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_gates = itertools.count(1)

Fate = Literal["on v3", "on v2", "interrupted"]
Blow = Callable[[ChaosService, int], Awaitable[object]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChaosService]:
    folder: Path = tmp_path_factory.mktemp("phases")
    async with chaos_service(folder, drain_s="3", connections_per_user="20", hang_v3_s="30") as running:
        yield running


class Phase:
    """One client with one message in one phase."""

    def __init__(self, service: ChaosService, name: str, *, safe: bool = False) -> None:
        self.name = name
        self._service = service
        self.client = ChaosClient(service.ws, f"phase-{name.replace(' ', '-')}{'-safe' * safe}")
        self.watched = ""
        """Id of the message whose fate is asked."""

    async def begin(self, gate: int) -> None:
        """Come to v3 and into the phase, in which what runs works until the gate is opened."""
        await self.client.connect()
        await self.client.events(self.client.say("sleep=0"), 3)
        await self._enter(gate)

    async def _enter(self, gate: int) -> None:
        client = self.client
        match self.name:
            case "queued":
                running = client.say(f"gate={gate}")
                await client.events(running, 2)
                self.watched = client.say("sleep=0 queued")
                await client.events(self.watched, 1)
            case "started":
                self.watched = client.say(f"hold=0 gate={gate}")
                await self._service.at_gate(gate, client.user_id)  # a client does not hear of `started`
            case "after the terminal event":
                self.watched = client.say("sleep=0 before")
                await client.events(self.watched, 3)
            case "mid-fragment":
                self.watched = f"{client.user_id}-cut"
                content = f"sleep=0 {'x' * 300}"
                body = client.encode("user_message", {"content": content}, self.watched)
                client.note(self.watched, content)
                assert client.wire is not None
                client.wire.send_begin(body[:100])
                self._rest = body[100:]
            case _:
                after = int(self.name.removeprefix("after event "))
                self.watched = client.say(f"think=2 hold={after} gate={gate}")
                await client.events(self.watched, after + 1)

    async def end(self) -> tuple[Fate, str]:
        """What became of the message, and where the next one ran."""
        client = self.client
        if self.name == "mid-fragment":
            assert client.wire is not None
            client.wire.send_end(self._rest)
        await client.quiet()
        events = client.history.events[self.watched]
        interrupted = events[-1] == "error:interrupted"
        fate: Fate = (
            "interrupted" if interrupted else "on v3" if client.history.paths[self.watched] == "v3" else "on v2"
        )
        if interrupted:  # the same id again: it runs, and there
            client.say("sleep=0 again", self.watched)
            await client.quiet()
            assert client.history.events[self.watched][-1] == "agent_completed"
        following = client.say("sleep=0 next")
        await client.quiet()
        client.send("get_thread_history", {})
        await client.quiet()
        await client.close()
        return fate, client.history.paths[following]


def phases(service: ChaosService) -> dict[str, Phase]:
    names = ("queued", "started", *(f"after event {n}" for n in (1, 2, 3)), "after the terminal event", "mid-fragment")
    return {name: Phase(service, name) for name in names} | {"safe": Phase(service, "started", safe=True)}


async def set_back(service: ChaosService, gate: int) -> None:
    """What runs ends when the percentage is in force."""
    await service.set(0)
    service.open_gate(gate)


async def roll_back(service: ChaosService, gate: int) -> None:
    """What runs ends when the lock is in force, and before the rollback's deadline."""
    done = asyncio.create_task(service.rollback())
    while (await service.view()).lock is None:
        assert not done.done()
    service.open_gate(gate)
    assert (await done).closed == 0


async def cut_off(service: ChaosService, _gate: int) -> None:
    """What runs does not end before the rollback's deadline."""
    assert (await service.rollback()).closed == 0


async def kill(service: ChaosService, _gate: int) -> None:
    assert service.kill("v3")


WAITS: dict[str, Fate] = {
    "queued": "on v2",
    "started": "on v3",
    "safe": "on v3",
    "after event 1": "on v3",
    "after event 2": "on v3",
    "after event 3": "on v3",
    "after the terminal event": "on v3",
    "mid-fragment": "on v2",
}
CUT: dict[str, Fate] = {
    "queued": "on v2",
    "started": "interrupted",
    "safe": "interrupted",
    "after event 1": "interrupted",
    "after event 2": "interrupted",
    "after event 3": "interrupted",
    "after the terminal event": "on v3",
    "mid-fragment": "on v2",
}


@pytest.mark.parametrize(
    ("blow", "expected"),
    [(set_back, WAITS), (roll_back, WAITS), (cut_off, {**CUT, "safe": "on v2"}), (kill, CUT)],
    ids=["set waits", "rollback waits until its deadline", "rollback cuts at its deadline", "a killed v3"],
)
async def test_the_fate_of_a_message_by_its_phase(service: ChaosService, blow: Blow, expected: dict[str, Fate]) -> None:
    gate = next(_gates)
    await service.serves("v3")
    await service.set(100)
    everyone = phases(service)
    await asyncio.gather(*(phase.begin(gate) for phase in everyone.values()))
    assert {session.path for session in await service.sessions()} == {"v3"}
    await blow(service, gate)
    service.open_gate(gate)  # a message that is run again works there, too
    fates = dict(zip(everyone, await asyncio.gather(*(phase.end() for phase in everyone.values())), strict=True))
    assert {name: fate for name, (fate, _) in fates.items()} == expected
    if blow is not kill:  # after a kill v3 may be back before the next message
        assert {path for _, path in fates.values()} == {"v2"}
    for phase in everyone.values():
        assert phase.client.history.end() == []
        assert phase.client.history.drops == {}


async def test_a_message_that_a_dead_worker_had_not_started_is_run_elsewhere(service: ChaosService) -> None:
    await service.serves("v3")
    await service.set(100)
    clients = [ChaosClient(service.ws, f"unstarted-{number}") for number in range(3)]
    for client in clients:
        await client.connect()
        await client.events(client.say("sleep=0"), 3)
    service.stop("v3")
    asked = [client.say("sleep=0 into the silence") for client in clients]
    await asyncio.gather(*(client.events(message_id, 1) for client, message_id in zip(clients, asked, strict=True)))
    assert service.kill("v3")
    for client, message_id in zip(clients, asked, strict=True):
        await client.quiet()
        assert client.history.events[message_id][-1] == "agent_completed"
        client.send("get_thread_history", {})
        await client.quiet()
        await client.close()
        assert client.history.end() == []


async def test_a_worker_that_cannot_answer_is_fenced_and_what_it_says_later_is_thrown_away(
    service: ChaosService,
) -> None:
    await service.serves("v3")
    await service.set(100)
    client, gate = ChaosClient(service.ws, "fenced"), next(_gates)
    await client.connect()
    running = client.say(f"hold=1 gate={gate}")
    await client.events(running, 2)
    pid = service.stop("v3")
    rolled_back = asyncio.create_task(service.rollback())
    await client.until(lambda: client.history.events[running][-1] == "error:interrupted")
    await client.events(client.say("sleep=0 after"), 3)
    assert not rolled_back.done()  # v3 stands still: nobody can say that it is empty
    service.open_gate(gate)
    assert service.go_on(pid)
    assert (await rolled_back).closed == 0
    client.send("get_thread_history", {})
    await client.quiet()
    await client.close()
    # Whether it still says anything depends on what it reads first; `tests/gateway` counts what is thrown away.
    assert client.history.end() == []
