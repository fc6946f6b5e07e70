"""The demo's two processes, service and clients: started, read, and always ended, each by its own id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from app.loadtest.options import LoadOptions
from app.loadtest.report import LoadReport
from app.loadtest.run import Progress
from ops.bench.processes import free_port
from ops.command import COMMAND, for_command
from ops.demo.crowd import Asked, Line

ROOT = Path(__file__).resolve().parents[2]
BUILDS = Path(__file__).with_name("builds")
START_S = 60.0
STOP_S = 20.0
LINE_BYTES = 4 * 1024 * 1024
_LINK = re.compile(r"http://\S+")


class DemoError(Exception):
    """The demo cannot continue; the text says what was expected and what was seen."""


class Running:
    """A running service; `link` signs a browser in once."""

    def __init__(self, url: str, link: str, token: str, process: asyncio.subprocess.Process) -> None:
        self.url = url
        self.link = link
        self.token = token
        self.process = process


@contextlib.asynccontextmanager
async def service(folder: Path) -> AsyncIterator[Running]:
    """`crossfade serve` on its own port and data. Raises `DemoError` with the end of its log when it does not start."""
    port, log = free_port(), folder / "service.log"
    environ = {
        **_environ(),
        "CROSSFADE_BIND": f"127.0.0.1:{port}",
        "CROSSFADE_DATA": str(folder / "data"),
        "CROSSFADE_ENVIRONMENT": "demo",
        "CROSSFADE_SHUTDOWN_S": "1",
        "CROSSFADE_PATHS_V2": "assistant.release_2_9:create_supervisor",
        "CROSSFADE_PATHS_V3": "assistant.release_3_0:create_supervisor",
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "serve", cwd=folder, env=environ, process_group=0,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=output,
        )  # fmt: skip
    try:
        try:
            async with asyncio.timeout(START_S):
                link = await _link(process)
        except TimeoutError:
            link = None
        if link is None:
            raise DemoError(f"the service did not start:\n{log.read_text()[-2000:]}")
        token = (folder / "data" / "operator.token").read_text().strip()
        yield Running(f"http://127.0.0.1:{port}", link, token, process)
    finally:
        await _end(process)


async def _link(process: asyncio.subprocess.Process) -> str | None:
    """The first address that it prints, once it accepts sockets; None: it ended before."""
    assert process.stdout is not None
    async for line in process.stdout:
        if found := _LINK.search(line.decode()):
            return found[0]
    return None


class Crowd:
    """The clients' process, as the demo reads its output."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.latest: Progress | None = None
        self._process = process
        self._log = log
        self._changed = asyncio.Event()
        self._report: asyncio.Task[LoadReport] = asyncio.create_task(self._hear())

    @property
    def drops(self) -> int:
        """Number of sockets that were closed but should not have been, as last reported."""
        return self.latest.drops if self.latest else 0

    @property
    def over(self) -> bool:
        """Whether the clients have closed their sockets."""
        return self._report.done()

    async def all_open(self, clients: int) -> None:
        """Wait until this many sockets are open. Raises `DemoError`."""
        try:
            async with asyncio.timeout(START_S):
                while self.latest is None or self.latest.open_sockets < clients:
                    if self.over:
                        raise DemoError(f"the clients ended early:\n{(await self._report).words()}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            opened = self.latest.open_sockets if self.latest else 0
            raise DemoError(f"{opened} of {clients} clients connected within {START_S:g} s") from None

    async def report(self) -> LoadReport:
        """Wait for the report of the clients. Raises `DemoError` if they ended without one."""
        return await asyncio.shield(self._report)

    def stop(self) -> None:
        """Let the clients send nothing more; they are done when everything is answered."""
        self._process.send_signal(signal.SIGINT)

    async def close(self) -> None:
        """Stop reading."""
        self._report.cancel()
        await asyncio.gather(self._report, return_exceptions=True)

    async def _hear(self) -> LoadReport:
        assert self._process.stdout is not None
        try:
            async for text in self._process.stdout:
                line = msgspec.json.decode(text, type=Line)
                if line.report is not None:
                    return line.report
                self.latest = line.progress
                self._changed.set()
            raise DemoError(f"the clients' process ended without a report:\n{self._log.read_text()[-2000:]}")
        finally:
            self._changed.set()


@contextlib.asynccontextmanager
async def crowd(folder: Path, running: Running, options: LoadOptions, seed: int) -> AsyncIterator[Crowd]:
    """The running clients until the block ends."""
    log = folder / "clients.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ops.demo.crowd", cwd=ROOT, env=_environ(), process_group=0, limit=LINE_BYTES,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=output,
        )  # fmt: skip
    heard = Crowd(process, log)
    try:
        assert process.stdin is not None
        asked = Asked(options=options, seed=seed, url=running.url, token=running.token)
        process.stdin.write(msgspec.json.encode(asked) + b"\n")
        await process.stdin.drain()
        yield heard
    finally:
        await heard.close()
        await _end(process)


def _environ() -> dict[str, str]:
    """This process's environment, without the settings of another service and with the demo's packages on the path."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CROSSFADE_") and name != "USE_WEBSOCKET_SUPERVISOR_V3"
    }
    paths = [str(ROOT), str(BUILDS), *filter(None, [kept.get("PYTHONPATH")])]
    return for_command({**kept, "PYTHONPATH": os.pathsep.join(paths)})


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
