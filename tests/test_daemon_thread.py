"""A thread for calls that may hang: in order, one at a time, and no obstacle to anybody."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from app.daemon_thread import DaemonThread

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 20


async def test_calls_run_in_order_in_one_thread_and_errors_come_back() -> None:
    thread, seen = DaemonThread("one"), list[tuple[int, str]]()

    def note(number: int) -> int:
        seen.append((number, threading.current_thread().name))
        return number

    assert await asyncio.gather(*(thread.submit(partial(note, number)) for number in range(5))) == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    assert seen == [(number, "one") for number in range(5)]
    with pytest.raises(ZeroDivisionError):
        await thread.submit(lambda: 1 // 0)
    assert await thread.submit(lambda: 7) == 7


async def test_a_call_that_was_given_up_before_its_turn_is_left_out() -> None:
    thread, released, ran = DaemonThread("one"), threading.Event(), list[str]()
    first = thread.submit(released.wait)
    given_up = thread.submit(lambda: ran.append("given up"))
    last = thread.submit(lambda: ran.append("last"))
    given_up.cancel()
    await asyncio.sleep(0)
    released.set()
    await asyncio.gather(first, last)
    assert ran == ["last"]


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import asyncio, threading
from app.daemon_thread import DaemonThread
async def main():
    hanging = DaemonThread("hangs").submit(threading.Event().wait)
    await asyncio.wait({hanging}, timeout=0.01)
asyncio.run(main())
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout == "ended\n"
