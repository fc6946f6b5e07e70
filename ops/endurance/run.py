"""One run: clients that come, talk and leave, an operator who changes something every minute, and kills, all real."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
from websockets.exceptions import InvalidHandshake

from app.loadtest.history import Violation
from ops.chaos.actors import Actor, Operator
from ops.chaos.client import ChaosClient
from ops.chaos.service import ChaosService, chaos_service
from ops.endurance.samples import Sample, sample

ACTORS = 100
"""Clients that stay, leave without a word and come back with their token, for the whole run."""
PASSERS_BY_PER_S = 15
"""New users a second, who send one message and leave, half of them without a close."""
SAMPLE_S = 5.0
CHANGE_S = 60.0
WARM_UP_S = 20.0
START_STOP_S = 240.0


class Endured(msgspec.Struct, kw_only=True):
    """The result of a run."""

    seed: str
    samples: list[Sample] = []
    tally: Counter[str] = msgspec.field(default_factory=Counter)
    users: int = 0
    """Passers-by that were served to the end."""
    refused: int = 0
    """Passers-by that could not connect."""
    wrong: list[str] = []
    """What broke the delivery contract or contradicted a verified rollback."""


async def endure(folder: Path, minutes: float, seed: str, say: Callable[[str], None]) -> Endured:
    """Do the whole run. Raises `BenchError`, `TimeoutError`."""
    endured = Endured(seed=seed)
    async with (
        asyncio.timeout(minutes * 60 + START_STOP_S),
        chaos_service(folder, connections_per_user="20", max_sessions="5000") as service,
    ):
        await service.ignore_evidence()
        over = asyncio.Event()
        operator = Operator(service, f"{seed}-operator", endured.tally)
        clients = [ChaosClient(service.ws, f"user-{number}{'-safe' * (number % 2)}") for number in range(ACTORS)]
        for client in clients:
            client.history.on_answer = operator.note_answer
        lives = [
            asyncio.create_task(Actor(each, f"{seed}-{each.user_id}", endured.tally).live(over)) for each in clients
        ]
        passing = asyncio.create_task(_pass_by(service, endured, over, random.Random(seed)))
        watching = asyncio.create_task(_watch(service, folder / "data", endured, over, say))
        await _change_something(operator, endured, minutes * 60, say)
        over.set()
        await asyncio.gather(*lives, passing, watching)
        endured.wrong += [str(each) for client in clients for each in client.history.end()]
        endured.wrong += [f"{each.user_id} was dropped: {each.history.drops}" for each in clients if each.history.drops]
        endured.wrong += operator.lies
    return endured


async def _change_something(operator: Operator, endured: Endured, run_s: float, say: Callable[[str], None]) -> None:
    """One act of the operator a minute, each of them before any comes again."""
    end = time.monotonic() + run_s
    for number in itertools.count(1):
        left = end - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(CHANGE_S, left))
        if time.monotonic() < end:
            act = await operator.act_once()
            say(f"change {number}: {act}")


async def _pass_by(service: ChaosService, endured: Endured, over: asyncio.Event, chance: random.Random) -> None:
    """Users who come once, at an even rate."""
    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            if over.is_set():
                return
            group.create_task(_visit(ChaosClient(service.ws, f"passer-{number}"), endured, chance.random() < 0.5))
            await asyncio.sleep(1 / PASSERS_BY_PER_S)


async def _visit(client: ChaosClient, endured: Endured, vanishes: bool) -> None:
    try:
        await client.connect()
    except (InvalidHandshake, OSError):
        endured.refused += 1
        return
    client.say("sleep=5 think=1")
    with contextlib.suppress(TimeoutError):
        await client.quiet()
    left_open = client.history.outstanding
    await (client.vanish() if vanishes else client.close())
    violations: list[Violation] = [] if left_open else list(client.history.end())
    endured.wrong += [str(each) for each in violations]
    if left_open:
        endured.wrong.append(f"{client.user_id} got no answer")
    endured.users += 1


async def _watch(
    service: ChaosService, data: Path, endured: Endured, over: asyncio.Event, say: Callable[[str], None]
) -> None:
    began = time.monotonic()
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAMPLE_S):
                await over.wait()
        at_s = time.monotonic() - began
        if at_s < WARM_UP_S:
            continue
        metrics = await service.metrics()
        sessions = int(sum(value for name, value in metrics.items() if name[0] == "crossfade_sessions"))
        seen = await asyncio.to_thread(sample, service.process, data, at_s, sessions)
        endured.samples.append(seen)
        if len(endured.samples) % 12 == 1:
            say(
                f"{at_s / 60:.1f} min: gateway {seen.gateway_bytes >> 20} MiB, workers {seen.workers_bytes >> 20} MiB, "
                f"{seen.gateway_descriptors} descriptors, sessions.db {seen.sessions_bytes >> 10} KiB"
            )
