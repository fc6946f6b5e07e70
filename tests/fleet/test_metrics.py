"""Any cell shows the counters of all as they are now, so that none goes back from one scrape to the next."""

from __future__ import annotations

import asyncio
import itertools
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.chaos.fleet import Fleet, until
from tests.fleet.clients import Client, Crowd

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
SCRAPES = 50
CLIENTS = 24
COUNTERS = ("_total", "_bucket", "_count", "_sum")
Sample = tuple[str, tuple[tuple[str, str], ...]]


async def counters_of(service: Fleet, cell: str) -> dict[Sample, float]:
    text = (await service[cell].get("/metrics", "*/*")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.endswith(COUNTERS)
    }


def names_in(counters: dict[Sample, float]) -> set[str]:
    return {dict(labels)["cell"] for _, labels in counters}


async def test_no_counter_goes_back_whichever_cell_answers(idle: Fleet) -> None:
    async with Crowd(idle.ws, CLIENTS) as clients:
        talk = asyncio.gather(*(talking(client) for client in clients))
        try:
            before: dict[Sample, float] = {}
            grown = 0
            for cell in itertools.islice(itertools.cycle(idle.names), SCRAPES):
                now = await counters_of(idle, cell)
                back = {
                    sample: (before[sample], value) for sample, value in now.items() if value < before.get(sample, 0)
                }
                assert back == {}, cell
                grown += sum(value > before.get(sample, value) for sample, value in now.items())
                before |= now
            assert names_in(before) == set(idle.names)
            assert grown > SCRAPES, "the counters stood still, so nothing was shown"
        finally:
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)


async def talking(client: Client) -> None:
    while True:
        await client.ask("hello")


async def test_a_cell_that_stands_still_is_left_out_and_comes_back_with_all_it_has_counted(idle: Fleet) -> None:
    before = await counters_of(idle, "a")
    idle.signal("d", signal.SIGSTOP)
    try:
        missing = await counters_of(idle, "a")
        assert names_in(missing) == set(idle.names) - {"d"}
    finally:
        idle.signal("d", signal.SIGCONT)

    async def back() -> dict[Sample, float] | None:
        now = await counters_of(idle, "a")
        return now if names_in(now) == set(idle.names) else None

    now = await until(back, what="d is back")
    assert now is not None
    assert all(now[sample] >= value for sample, value in before.items())
