"""The parent of a host's cells: binds the shared socket, starts the cells, restarts those that die, ends them in order.

It serves nobody itself and keeps no state of the rollout.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from app.errors import CrossfadeError, LinkError
from app.fleet.hub import Hub
from app.link.preamble import send_config
from app.logs import configure_logging
from app.process_title import set_process_title
from app.secret import load_secret
from app.serve.cell_config import CellConfig
from app.serve.listening import bind
from app.serve.names import cell_names
from app.settings import Settings

BOOTSTRAP = Path(__file__).with_name("cell_bootstrap.py")
SOCKET_BYTES = 1024 * 1024
ANNOUNCE_S = 1.0
BACKOFF_S = 0.1
BACKOFF_MOST_S = 5.0
STEADY_S = 30.0
"""A cell that lived for this long is restarted at once; the others wait longer each time."""
GRACE_S = 20.0
"""A cell that has not ended this long after its drain is killed."""
log = structlog.get_logger()


class CellHost:
    """Runs the cells of one host. `ready` is called once, when every cell serves."""

    def __init__(
        self, settings: Settings, owner: int, cells: int, listener: socket.socket, ready: Callable[[], None]
    ) -> None:
        """`owner`: descriptor by which this process and its cells own the data folder."""
        self._settings = settings
        self._owner = owner
        self._listener = listener
        self._ready = ready
        self._names = cell_names(settings, cells)
        self._hub = Hub(self._serves, self._broken)
        self._served: set[str] = set()
        self._greeted = False
        self._failed = False
        self._stopping = asyncio.Event()
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def run(self) -> int:
        """Run until a signal, or until the first start of a cell fails. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        lives = [asyncio.create_task(self._keep(name)) for name in self._names]
        announcing = asyncio.create_task(self._announce())
        try:
            await asyncio.gather(*lives)
        finally:
            announcing.cancel()
            self._hub.close()
        return 1 if self._failed and not self._served else 0

    # -- the lives of a cell ------------------------------------------------------------------------------------------

    async def _keep(self, name: str) -> None:
        """Start a cell, again whenever it dies, until the stop."""
        wait_s = BACKOFF_S
        while not self._stopping.is_set():
            begun_at = time.monotonic()
            process = await self._start(name)
            self._processes[name] = process
            if self._stopping.is_set():
                self._signal(process, signal.SIGTERM)
            status = await self._end_of(process)
            del self._processes[name]
            self._hub.disconnect(name)
            if self._stopping.is_set():
                return
            if not self._served:
                # No cell has ever served: what keeps this one from starting, and was logged by it, keeps them all.
                self._failed = True
                self._stop()
                return
            wait_s = BACKOFF_S if time.monotonic() - begun_at > STEADY_S else min(wait_s * 2, BACKOFF_MOST_S)
            log.warning("a cell has ended and is started again", cell=name, status=status, wait_s=wait_s)
            await self._pause(wait_s)

    async def _start(self, name: str) -> asyncio.subprocess.Process:
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            config = CellConfig(name=name, parent_pid=os.getpid(), settings=self._settings)
            send_config(ours, config)
            inherited = (self._listener.fileno(), theirs.fileno(), self._owner)
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(BOOTSTRAP), *map(str, inherited),
                pass_fds=inherited,
                stdin=asyncio.subprocess.DEVNULL,
                process_group=0,  # Ctrl-C in a terminal is for the parent, which ends its cells in order
            )  # fmt: skip
        self._hub.connect(name, ours)
        return process

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        """Wait for its end; during a stop no longer than drain and grace allow. Returns the exit status."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            await asyncio.wait((ended,), timeout=self._settings.shutdown_s + GRACE_S)
            if not ended.done():
                self._signal(process, signal.SIGKILL)
        return await ended

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _stop(self) -> None:
        """Ask every cell to drain and end; a second call ends them without draining."""
        self._stopping.set()
        for process in self._processes.values():
            self._signal(process, signal.SIGTERM)
            self._signal(process, signal.SIGCONT)  # a stopped process could not end

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        if process.returncode is None:
            process.send_signal(number)

    # -- what cells report --------------------------------------------------------------------------------------------

    def _serves(self, name: str) -> None:
        self._served.add(name)
        if not self._greeted and self._served.issuperset(self._names):
            self._greeted = True
            self._hub.greet(self._names[0])
            self._ready()

    def _broken(self, name: str, error: LinkError) -> None:
        """End a cell that nobody can reach: it must not go on serving by what it knew."""
        log.error("a cell's bus is broken", cell=name, error=str(error))
        if name in self._processes:
            self._signal(self._processes[name], signal.SIGKILL)

    async def _announce(self) -> None:
        while True:
            self._hub.announce()
            await asyncio.sleep(ANNOUNCE_S)


def run_cells(settings: Settings, owner: int, cells: int, ready: Callable[[], None] = lambda: None) -> int:
    """Serve with several cells until a signal; `ready` is called when all serve. Returns the exit code.

    `owner`: descriptor by which the data folder is owned.
    """
    set_process_title("parent")
    configure_logging(settings.log_level)
    try:
        listener = bind(settings)
        load_secret(settings)  # before two cells each make one
    except (CrossfadeError, OSError) as error:
        print(f"crossfade: {error}", file=sys.stderr)  # noqa: T201
        return 1
    with listener:
        return asyncio.run(_run(settings, owner, cells, listener, ready))


async def _run(settings: Settings, owner: int, cells: int, listener: socket.socket, ready: Callable[[], None]) -> int:
    return await CellHost(settings, owner, cells, listener, ready).run()
