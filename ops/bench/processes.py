"""Processes of a benchmark: started with a log, waited for until they answer, and always ended, each by its own id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
START_S = 40.0
STOP_S = 20.0
ANSWER_S = 120.0


class BenchError(Exception):
    """A benchmark could not be run; the text says why."""


_reserved: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback that is reserved for whoever is told of it, until this process ends.

    A socket stays bound to it without listening: the system gives the port to nobody else, connections are refused,
    and a server may listen on it as servers do (with SO_REUSEADDR).
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _reserved.append(reserved)
    return int(reserved.getsockname()[1])


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str], log: Path, port: int | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[psutil.Process]:
    """Run a command from the project's folder until the block ends; with `port`, wait until it accepts there.

    Raises `BenchError` with the end of its log when it ends early or does not answer in time.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **(environ or {})},
        )  # fmt: skip
    try:
        if port is not None and not await _accepts(process, port):
            raise BenchError(f"{log.stem} does not accept on port {port}:\n{_tail(log)}")
        yield psutil.Process(process.pid)  # type: ignore[no-untyped-call]
    finally:
        await _end(process)


async def _accepts(process: asyncio.subprocess.Process, port: int) -> bool:
    """Wait until it accepts; False: it has ended or takes too long."""
    loop = asyncio.get_running_loop()
    end = loop.time() + START_S
    while loop.time() < end:
        if process.returncode is not None:
            return False
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return True
    return False


def _tail(log: Path) -> str:
    return log.read_text()[-2000:]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


class LoadClient:
    """The process of the load generator, see `client`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, do: str, target: str, **arguments: object) -> dict[str, float]:
        """Send one command and wait for its answer. Raises `BenchError` if it fails."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "target": target, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_S)
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the load client ended"}
        if "error" in answer:
            raise BenchError(f"{do} {target}: {answer['error']}")
        result: dict[str, float] = answer["ok"]
        return result


@contextlib.asynccontextmanager
async def load_client() -> AsyncIterator[LoadClient]:
    """A running load generator until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.bench.client", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield LoadClient(process)
    finally:
        await _end(process)


def cpu_s(process: psutil.Process) -> float:
    """Processor time of one process so far, in user and kernel mode, in seconds; independent of other load."""
    times = process.cpu_times()
    return float(times.user + times.system)


def memory_bytes(process: psutil.Process) -> int:
    """Proportional set size of a process and all its descendants."""
    total = 0
    children = process.children(recursive=True)  # type: ignore[no-untyped-call]
    for each in (process, *children):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_full_info().pss
    return total
