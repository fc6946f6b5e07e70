"""Faults for drills: what each one does, to which messages, and how often."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc

import pytest

from app.errors import SettingError
from app.message_types import Request
from app.supervisor.contract import Opening
from app.supervisor.errors import InjectedError
from app.supervisor.faults import CRASH_EXIT_STATUS, KEYS, NO_FAULTS, FaultPlan, Faults, plan_of, plans_of_setting
from app.supervisor.loading import load_path

HELLO, POISON = Request("message", "hello"), Request("message", "some poison here")
MEBIBYTE = 1 << 20


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_faults_unless_set(text: str) -> None:
    assert plans_of_setting(text) == {}
    assert not Faults().active and not Faults(plan_of({})).active


def test_the_setting_is_by_path() -> None:
    text = '{"v3": {"error_rate": 0.1, "crash_on": "poison"}, "v2": {"latency_ms": 5, "hang": true}}'
    assert plans_of_setting(text) == {
        "v3": FaultPlan(error_rate=0.1, crash_on="poison"),
        "v2": FaultPlan(latency_ms=5.0, hang=True),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "JSON by path"),
        ("[1]", "JSON by path"),
        ('{"v3": 1}', "JSON by path"),
        ('{"v4": {}}', "'v4' is not a path; allowed: v2, v3"),
        ('{"v3": {"eror_rate": 0.1}}', "CROSSFADE_FAULTS, v3: 'eror_rate' is not a fault; allowed: error_rate, "),
        ('{"v3": {"error_rate": 1.5}}', "CROSSFADE_FAULTS, v3: error_rate=1.5: .*<= 1"),
        ('{"v3": {"error_rate": "0.5"}}', "error_rate='0.5': Expected `float`, got `str`"),
        ('{"v3": {"latency_ms": -1}}', "latency_ms=-1: .*>= 0"),
        ('{"v3": {"hang": 2}}', "hang=2"),
        ('{"v3": {"leak_bytes": 0.5}}', "leak_bytes=0.5"),
        ('{"v3": {"crash_on": ""}}', "crash_on=''"),
    ],
)
def test_a_bad_setting_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told) as caught:
        plans_of_setting(text)
    assert "CROSSFADE_FAULTS" in str(caught.value) and "\n" not in str(caught.value)


def test_every_key_is_named_when_one_is_wrong() -> None:
    with pytest.raises(SettingError) as caught:
        plan_of({"no_such": 1})
    assert all(key in str(caught.value) for key in KEYS)


async def outcomes(faults: Faults, request: Request, times: int) -> list[bool]:
    """For each time, whether the message failed."""
    failed = []
    for _ in range(times):
        try:
            await faults.before(request)
        except InjectedError:
            failed.append(True)
        else:
            failed.append(False)
    return failed


async def test_the_error_rate_is_a_share_and_repeatable_by_its_seed() -> None:
    failed = await outcomes(Faults(plan_of({"error_rate": 0.25, "seed": 7})), HELLO, 2000)
    assert 400 < sum(failed) < 600
    assert failed == await outcomes(Faults(plan_of({"error_rate": 0.25, "seed": 7})), HELLO, 2000)
    assert failed != await outcomes(Faults(plan_of({"error_rate": 0.25, "seed": 8})), HELLO, 2000)
    assert all(await outcomes(Faults(plan_of({"error_rate": 1})), HELLO, 20))


async def test_a_trigger_limits_a_fault_to_messages_that_contain_it() -> None:
    faults = Faults(plan_of({"error_on": "poison"}))
    assert await outcomes(faults, HELLO, 3) == [False] * 3
    assert await outcomes(faults, POISON, 3) == [True] * 3
    some = await outcomes(Faults(plan_of({"error_on": "poison", "error_rate": 0.5, "seed": 1})), POISON, 100)
    assert 0 < sum(some) < 100


async def test_a_leak_stays_until_the_faults_are_replaced() -> None:
    faults = Faults(plan_of({"leak_bytes": MEBIBYTE, "leak_on": "hello"}))
    tracemalloc.start()
    try:
        await outcomes(faults, POISON, 3)
        assert tracemalloc.get_traced_memory()[0] < MEBIBYTE
        await outcomes(faults, HELLO, 3)
        assert 3 * MEBIBYTE <= tracemalloc.get_traced_memory()[0] < 4 * MEBIBYTE
        faults.replace(NO_FAULTS)
        assert tracemalloc.get_traced_memory()[0] < MEBIBYTE
    finally:
        tracemalloc.stop()
    assert not faults.active


async def test_latency_delays_by_its_milliseconds() -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await Faults(plan_of({"latency_ms": 20})).before(HELLO)
    assert loop.time() - begin >= 0.019
    begin = loop.time()
    await Faults(plan_of({"latency_ms": 60_000, "latency_rate": 0})).before(HELLO)
    assert loop.time() - begin < 30


async def test_a_busy_loop_holds_up_the_whole_worker_and_a_hang_only_its_message() -> None:
    turns: list[str] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(turns.append, "other work")
    await Faults(plan_of({"busy_loop": True, "busy_loop_ms": 5})).before(HELLO)
    assert turns == []

    hanging = asyncio.create_task(Faults(plan_of({"hang": 1.0})).before(HELLO))
    served = asyncio.Event()
    loop.call_soon(loop.call_soon, served.set)
    await served.wait()
    assert turns == ["other work"] and not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_a_crash_happens_on_its_trigger() -> None:
    crashes: list[str] = []
    faults = Faults(plan_of({"crash_on": "poison"}), crash=lambda: crashes.append("crash"))
    await faults.before(HELLO)
    assert crashes == []
    await faults.before(POISON)
    assert crashes == ["crash"]


def test_a_crash_ends_the_process_at_once() -> None:
    script = (
        "import asyncio, atexit\n"
        "from app.message_types import Request\n"
        "from app.supervisor.faults import Faults, plan_of\n"
        "atexit.register(print, 'cleaned up')\n"
        "asyncio.run(Faults(plan_of({'crash': True})).before(Request('message', 'x')))\n"
        "print('went on')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (CRASH_EXIT_STATUS, "")


async def test_faults_of_a_path_change_while_sessions_live_and_leave_the_document() -> None:
    faults = Faults()
    serving = load_path("builtin", "v3", thread_secret=b"secret", faults=faults)
    supervisor = await serving.make(Opening("c-1", "ada", "t-1", 0.0))
    assert [event.type async for event in supervisor.run(HELLO, "r-1")] == ["agent_started", "agent_completed"]
    before = supervisor.export_state()
    faults.replace(plan_of({"error_rate": 1}))
    with pytest.raises(InjectedError):
        async for _ in supervisor.run(HELLO, "r-2"):
            pass
    assert supervisor.export_state() == before
    faults.replace(NO_FAULTS)
    assert [event.type async for event in supervisor.run(HELLO, "r-3")] == ["agent_started", "agent_completed"]
