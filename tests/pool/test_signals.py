"""Signals that end other processes do nothing to a worker, in any phase of its life; only its gateway ends it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from app.link.spawn import ENDING
from app.pool import handle as handle_module
from app.pool.launch import launch
from tests.pool.recorder import Recorder, chat, config_of, hosting, limits_of, opened, serving

pytestmark = pytest.mark.slow
PEOPLE = Path(__file__).parent / "people"
SEED = os.environ.get("CROSSFADE_TEST_SEED", "7")


@pytest.mark.parametrize("number", ENDING)
async def test_a_running_message_ends_as_if_there_was_no_signal(number: signal.Signals) -> None:
    recorder = Recorder()
    async with hosting(recorder, faults={"latency_ms": 200}) as pool:
        worker = serving(pool)
        worker.send(opened())
        worker.send(chat("words"))
        await recorder.started()
        for _ in range(20):
            os.kill(worker.pid, number)
        assert (await recorder.done()).terminal == "agent_completed"
        worker.send(chat("more words", number=2))
        assert (await recorder.done(number=2)).terminal == "agent_completed"
        assert recorder.downs == []


async def test_signals_from_the_first_moment_of_a_start_on_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come before there is an interpreter, while it imports, and while it loads the path."""
    chance = random.Random(SEED)
    recorder = Recorder()
    pids: list[int] = []

    def launched(*arguments: object) -> object:
        process, connected = launch(*arguments)  # type: ignore[arg-type]
        os.kill(process.pid, chance.choice(ENDING))
        pids.append(process.pid)
        return process, connected

    monkeypatch.setattr(handle_module, "launch", launched)
    async with hosting(recorder, start=False) as pool:
        loop = asyncio.get_running_loop()

        def again() -> None:
            for pid in pids:
                os.kill(pid, chance.choice(ENDING))
            if pool.worker is None:
                loop.call_later(chance.uniform(0, 0.01), again)

        loop.call_soon(again)
        await pool.start()
        assert serving(pool).pid == pids[0]
        assert recorder.downs == []


async def test_a_program_that_a_supervisor_starts_can_be_ended_by_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker does with signals is not left to what it starts."""
    (tmp_path / "tools.py").write_text(
        "import subprocess, sys\n"
        "def create(context):\n"
        "    async def run(message):\n"
        "        tool = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "        tool.terminate()\n"
        "        yield str(tool.wait())\n"
        "    return run\n"
    )
    monkeypatch.chdir(tmp_path)
    recorder = Recorder()
    async with hosting(recorder, factory="tools:create") as pool:
        serving(pool).send(opened())
        serving(pool).send(chat("x"))
        assert recorder.content_of(await recorder.done()) == str(-signal.SIGTERM)


async def test_handlers_that_people_s_code_sets_are_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eager.py").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(9))\n"
        "def create(context):\n"
        "    async def run(message):\n"
        "        yield 'done'\n"
        "    return run\n"
    )
    monkeypatch.chdir(tmp_path)
    recorder = Recorder()
    async with hosting(recorder, factory="eager:create") as pool:
        os.kill(serving(pool).pid, signal.SIGTERM)
        serving(pool).send(opened())
        serving(pool).send(chat("x"))
        assert (await recorder.done()).terminal == "agent_completed"


async def test_stop_ends_a_worker_in_order_and_one_that_is_still_starting_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PEOPLE)
    recorder = Recorder()
    async with hosting(recorder, faults={"latency_ms": 60_000}) as pool:
        worker = serving(pool)
        worker.send(opened())
        worker.send(chat("long"))
        await recorder.started()
        await pool.stop(grace_s=30)
        assert worker._process.returncode == 0  # by itself, its message cancelled, its supervisor closed

    async with hosting(Recorder(), limits_of(), start=False, factory="acme.never_loads:create") as pool:
        starting = asyncio.ensure_future(pool.start())
        await asyncio.sleep(0)  # its first step is to start the process
        (slow,) = pool._handles
        async with asyncio.timeout(20):
            await pool.stop(grace_s=60)
        assert slow._process.returncode == -signal.SIGKILL
        starting.cancel()
        await asyncio.wait((starting,))


def test_our_own_signals_are_not_blocked_for_longer_than_a_start() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    process, connected = launch(config_of())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    connected.close()
    process.kill()
    process.wait()


def test_a_worker_whose_gateway_hangs_up_while_it_starts_ends() -> None:
    process, connected = launch(config_of())
    connected.close()
    assert process.wait(30) in (0, 1, 3)
