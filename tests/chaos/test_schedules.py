"""Nobody is dropped: clients that live at random beside an operator with bad luck, on a real service, from a seed.

`CROSSFADE_TEST_SEEDS=7,8` runs these seeds, `CROSSFADE_TEST_SEEDS=random:5` five new ones; a failure names its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from ops.chaos.actors import Actor, Operator
from ops.chaos.client import ChaosClient
from ops.chaos.service import chaos_service

pytestmark = pytest.mark.slow

CLIENTS = 200
ROUNDS = 1
LIMIT_S = 120


def seeds() -> list[int]:
    text = os.environ.get("CROSSFADE_TEST_SEEDS", "1")
    if text.startswith("random:"):
        return [random.SystemRandom().randrange(10**6) for _ in range(int(text.removeprefix("random:")))]
    return [int(seed) for seed in text.split(",")]


@pytest.mark.parametrize("seed", seeds())
async def test_a_random_schedule_drops_nobody(seed: int, tmp_path: Path) -> None:
    print(f"seed {seed}: CROSSFADE_TEST_SEEDS={seed} repeats it")
    tally: Counter[str] = Counter()
    async with chaos_service(tmp_path, drain_s="0.5", connections_per_user="20") as service, asyncio.timeout(LIMIT_S):
        operator = Operator(service, f"{seed}-operator", tally)
        clients = [ChaosClient(service.ws, f"user-{number}{'-safe' * (number % 2)}") for number in range(CLIENTS)]
        for client in clients:
            client.history.on_answer = operator.note_answer
        over = asyncio.Event()
        actors = [Actor(client, f"{seed}-{client.user_id}", tally) for client in clients]
        lives = [asyncio.create_task(actor.live(over)) for actor in actors]
        await operator.work(ROUNDS)
        over.set()
        await asyncio.gather(*lives)
        metrics = await service.metrics()
    print(dict(tally))
    wrong = {client.user_id: violations for client in clients if (violations := client.history.end())}
    for client in [client for client in clients if client.user_id in wrong][:3]:
        print(client.user_id, wrong[client.user_id], *client.history.trace, sep="\n")
    assert wrong == {}
    assert [client.history.drops for client in clients if client.history.drops] == []
    assert operator.lies == []
    # It was a schedule: sessions moved both ways with work in flight, and some of it was cut.
    assert metrics["crossfade_handovers_total", "moved", "v2", "v3"] > CLIENTS / 4
    assert metrics["crossfade_handovers_total", "moved", "v3", "v2"] > CLIENTS / 4
    assert tally["agent_completed"] > 10 * CLIENTS
    assert tally["interrupted"] > 0
