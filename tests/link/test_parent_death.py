"""A worker never outlives its gateway, which is killed with SIGKILL while the worker does different things."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PEOPLE = Path(__file__).parents[1] / "pool" / "people"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
PATIENCE_MS = 30_000

GATEWAY = """
import asyncio, os, signal, uvloop
from tests.pool.recorder import Recorder, chat, hosting, limits_of, opened, serving

async def main():
    recorder = Recorder()
    async with hosting(recorder, limits_of(hang_s=600), factory="acme:holds_the_interpreter") as host:
        worker = serving(host)
        worker.send(opened())
        worker.send(chat("DOING"))
        await recorder.started()
        if "DOING" == "stopped":
            os.kill(worker.pid, signal.SIGSTOP)
        print(worker.pid, flush=True)
        await asyncio.Event().wait()

uvloop.run(main())
"""

# A process that only has the thread which watches its parent, as on systems without the kernel's signal.
CHILD = """
import os, sys, types
from app.link import parent_death
parent_death.sys = types.SimpleNamespace(platform="other")
assert parent_death.die_with(int(sys.argv[1]))
print(os.getpid(), flush=True)
while True:
    pass
"""

PARENT = f"""
import os, subprocess, sys, threading
subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid())])
threading.Event().wait()
"""


def killed_with_its_parent(script: str) -> bool:
    """Start a script that prints the id of a child, kill it, and wait for the child's end."""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=PEOPLE, env=ENVIRONMENT
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        ended = select.poll()
        descriptor = os.pidfd_open(child)
        try:
            ended.register(descriptor, select.POLLIN)
            assert ended.poll(0) == []
            parent.kill()
            if ended.poll(PATIENCE_MS):
                return True
            os.kill(child, signal.SIGKILL)
            return False
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("doing", ["idle", "hold", "stopped"])
def test_a_worker_ends_when_its_gateway_is_killed(doing: str) -> None:
    assert killed_with_its_parent(GATEWAY.replace("DOING", doing))


def test_without_the_kernel_s_help_a_thread_sees_that_the_parent_is_gone() -> None:
    assert killed_with_its_parent(PARENT)
