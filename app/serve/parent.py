"""The parent of a host's cells: binds the shared socket, starts the cells, restarts those that die, ends them in order.

It serves nobody itself and keeps no state of the rollout.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from app.errors import CrossfadeError, HostShortage, LinkError
from app.fleet.hub import Hub
from app.link.spawn import spawn
from app.logs import configure_logging
from app.pool.exits import watch_exit
from app.process_title import set_process_title
from app.secret import load_secret
from app.serve.cell_config import CellConfig
from app.serve.listening import bind
from app.serve.names import cell_names
from app.serve.signals import Signals
from app.settings import Settings

BOOTSTRAP = Path(__file__).with_name("cell_bootstrap.py")
SOCKET_BYTES = 1024 * 1024
ANNOUNCE_S = 1.0
BACKOFF_S = 0.1
BACKOFF_MOST_S = 5.0
SHORTAGE_S = 1.0
"""Seconds between two starts of a cell while the machine has nothing left for a process."""
STEADY_S = 30.0
"""A cell that lived for this long is restarted at once; the others wait longer each time."""
GRACE_S = 20.0
"""A cell that has not ended this long after its drain is killed."""
log = structlog.get_logger()


class CellProcess:
    """The process of one cell. Made in the event loop; raises `HostShortage` and `OSError` when there is none."""

    def __init__(self, config: CellConfig, listener: socket.socket, owner: int) -> None:
        self._process, self.link = spawn(
            config,
            lambda link: [sys.executable, str(BOOTSTRAP), str(listener.fileno()), str(link), str(owner)],
            buffer_bytes=SOCKET_BYTES,
            inherit=[listener.fileno(), owner],
        )
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            watch_exit(self._process, self._ended.set_result)
        except (OSError, RuntimeError) as error:
            self.link.close()
            self._process.kill()
            self._process.wait()
            raise HostShortage(f"this machine cannot watch a process: {error}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if not self._ended.done():
            self._process.send_signal(number)

    async def ended(self, stopping: asyncio.Event, within_s: float) -> int:
        """Wait for its end; once `stopping` is set no longer than `within_s`, then kill it. Returns the exit status."""
        asked = asyncio.ensure_future(stopping.wait())
        await asyncio.wait((self._ended, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not self._ended.done():
            await asyncio.wait((self._ended,), timeout=within_s)
            self.signal(signal.SIGKILL)
        return await self._ended


class CellHost:
    """Runs the cells of one host."""

    def __init__(self, settings: Settings, owner: int, cells: int, listener: socket.socket, signals: Signals) -> None:
        """`owner`: descriptor by which this process and its cells own the data folder."""
        self._settings = settings
        self._owner = owner
        self._listener = listener
        self._signals = signals
        self._names = cell_names(settings, cells)
        self._hub = Hub(self._serves, self._broken)
        self._served: set[str] = set()
        self._greeted = False
        self._failed = False
        self._hangups = 0
        self._stopping = asyncio.Event()
        self._processes: dict[str, CellProcess] = {}

    async def run(self) -> int:
        """Run until a signal, or until the first start of a cell fails. Returns the exit code."""
        loop = asyncio.get_running_loop()
        self._signals.tell(lambda: _soon(loop, self._signalled))
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
            if process is None:
                continue
            status = await process.ended(self._stopping, self._settings.shutdown_s + GRACE_S)
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

    async def _start(self, name: str) -> CellProcess | None:
        """A new process of a cell; None, after a while: there can be none now, which is tried again.

        When no cell has ever served and the program cannot be executed, the service ends instead.
        """
        config = CellConfig(name=name, parent_pid=os.getpid(), settings=self._settings)
        try:
            process = CellProcess(config, self._listener, self._owner)
        except (HostShortage, OSError) as error:
            if isinstance(error, OSError) and not self._served:
                log.error("a cell cannot be started", cell=name, error=str(error))
                self._failed = True
                self._stop()
            else:
                log.warning("a cell is not started; tried again", cell=name, error=str(error), wait_s=SHORTAGE_S)
                await self._pause(SHORTAGE_S)
            return None
        self._processes[name] = process
        self._hub.connect(name, process.link)
        return process

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _signalled(self) -> None:
        if self._signals.hangups > self._hangups:
            self._hangups = self._signals.hangups
            log.info("SIGHUP changes nothing: settings are read at the start")
        if self._signals.stopping:
            self._stop()

    def _stop(self) -> None:
        """Ask every cell to drain and end, or to end at once."""
        self._stopping.set()
        self._listener.close()  # as the cells do, or new connections would wait in it for nobody
        for process in self._processes.values():
            process.signal(signal.SIGQUIT if self._signals.at_once else signal.SIGTERM)
            process.signal(signal.SIGCONT)  # a stopped process could not end

    # -- what cells report --------------------------------------------------------------------------------------------

    def _serves(self, name: str) -> None:
        self._served.add(name)
        if not self._greeted and self._served.issuperset(self._names):
            self._greeted = True
            self._hub.greet(self._names[0])

    def _broken(self, name: str, error: LinkError) -> None:
        """End a cell that nobody can reach: it must not go on serving by what it knew."""
        log.error("a cell's bus is broken", cell=name, error=str(error))
        if name in self._processes:
            self._processes[name].signal(signal.SIGKILL)

    async def _announce(self) -> None:
        while True:
            self._hub.announce()
            await asyncio.sleep(ANNOUNCE_S)


def run_cells(settings: Settings, owner: int, cells: int) -> int:
    """Serve with several cells until a signal. Returns the exit code.

    `owner`: descriptor by which the data folder is owned.
    """
    signals = Signals()
    signals.hear()
    set_process_title("parent")
    configure_logging(settings.log_level)
    try:
        listener = bind(settings)
        load_secret(settings)  # before two cells each make one
    except (CrossfadeError, OSError) as error:
        print(f"crossfade: {error}", file=sys.stderr)  # noqa: T201
        return 1
    with listener:
        status = asyncio.run(_run(settings, owner, cells, listener, signals))
    signals.over()
    return status


async def _run(settings: Settings, owner: int, cells: int, listener: socket.socket, signals: Signals) -> int:
    return await CellHost(settings, owner, cells, listener, signals).run()


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(call)
