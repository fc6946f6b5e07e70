"""A machine without descriptors, memory or processes is no fault of a path: not counted, and tried again."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.errors import FactoryError
from app.pool.liveness import CANARY_BACK_OFF, STABLE_BACK_OFF, BackOff
from app.pool.pools import WorkerPools
from app.settings import Settings
from rollout.builds import BuildSource, Served
from rollout.names import PathName
from tests.pool.recorder import SECRET, Recorder, hosting, serving

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pool.pool.SHORTAGE_S", 0.02)


@contextmanager
def without_descriptors() -> Iterator[None]:
    """This process can open nothing more within the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, where: object, name: str, error: Exception) -> Iterator[None]:
    """This call of the kernel fails within the block."""

    def fail(*arguments: object, **named: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(where, name, fail)
        yield


SHORTAGES = [
    (socket, "socketpair", OSError(errno.EMFILE, "Too many open files")),
    (socket, "socketpair", OSError(errno.ENFILE, "Too many open files in system")),
    (subprocess, "Popen", OSError(errno.EAGAIN, "Resource temporarily unavailable")),
    (subprocess, "Popen", OSError(errno.ENOMEM, "Cannot allocate memory")),
]


@pytest.mark.parametrize(("where", "name", "error"), SHORTAGES, ids=lambda value: getattr(value, "strerror", ""))
async def test_deaths_during_a_shortage_count_once_and_the_path_comes_back(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, error: OSError
) -> None:
    recorder = Recorder()
    async with hosting(recorder, crash_limit=2) as pool:
        with failing(monkeypatch, where, name, error):
            os.kill(serving(pool).pid, signal.SIGKILL)
            await recorder.until(lambda: len(recorder.unavailable) == 2)
            assert recorder.unavailable[1][0] == f"this machine cannot start a process: {error.strerror}; tried again"
            await asyncio.sleep(0.1)  # several tries, of which a crash limit of two forgives none
        await recorder.until(lambda: len(recorder.ups) == 2)
        assert pool.restarts == 1


async def test_at_the_real_limit_of_descriptors_nothing_is_counted_and_nothing_leaks() -> None:
    recorder = Recorder()
    async with hosting(recorder, crash_limit=2) as pool:
        children = _children()
        with without_descriptors():
            os.kill(serving(pool).pid, signal.SIGKILL)
            await recorder.until(lambda: len(recorder.unavailable) == 2)
            assert "Too many open files" in recorder.unavailable[1][0]
            await asyncio.sleep(0.1)
        await recorder.until(lambda: len(recorder.ups) == 2)
        assert len(_children()) == len(children)


async def test_a_process_that_cannot_be_watched_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a process by then, but no descriptor and no thread that would see its end."""
    recorder = Recorder()
    others = _children()
    async with hosting(recorder, crash_limit=2) as pool:
        no_thread = RuntimeError("can't start new thread")
        no_descriptor = OSError(errno.EMFILE, "Too many open files")
        with (
            failing(monkeypatch, threading.Thread, "start", no_thread),
            failing(monkeypatch, os, "pidfd_open", no_descriptor),
        ):
            os.kill(serving(pool).pid, signal.SIGKILL)
            await recorder.until(lambda: len(recorder.unavailable) == 2)
            assert _children() <= others
        await recorder.until(lambda: len(recorder.ups) == 2)


async def test_the_first_start_waits_until_the_shortage_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    async with hosting(recorder, start=False) as pool:
        with failing(monkeypatch, socket, "socketpair", OSError(errno.EMFILE, "Too many open files")):
            starting = asyncio.ensure_future(pool.start())
            await recorder.until(lambda: recorder.unavailable)
        await starting
        assert recorder.ups == [serving(pool)]


async def test_a_new_build_is_refused_with_the_machine_s_reason_and_the_old_one_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    async with hosting(recorder) as pool:
        worker = serving(pool)
        with (
            failing(monkeypatch, subprocess, "Popen", OSError(errno.ENOMEM, "Cannot allocate memory")),
            pytest.raises(FactoryError, match="v3: this machine cannot start a process: Cannot allocate memory"),
        ):
            await pool.spawn_candidate(Served(BuildSource("builtin")))
        assert pool.worker is worker
        assert recorder.unavailable == []


async def test_an_interpreter_that_cannot_be_executed_is_the_path_s_fault() -> None:
    recorder = Recorder()
    async with hosting(recorder, start=False, python="/dev/null") as pool:
        with pytest.raises(FactoryError, match="cannot start /dev/null: Permission denied"):
            await pool.start()


@pytest.mark.parametrize(("path", "back_off"), [("v2", STABLE_BACK_OFF), ("v3", CANARY_BACK_OFF)])
async def test_each_path_has_its_own_back_off(path: PathName, back_off: BackOff) -> None:
    pools = WorkerPools(Settings(), SECRET, Recorder())
    assert pools[path]._rules.back_off is back_off


def _children() -> set[int]:
    """Children of this process that run: those that have ended and were not waited for are counted too."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False).stdout
    return {int(pid) for pid in found.split()}
