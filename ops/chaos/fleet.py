"""A real service of several cells: its parent, the processes of its cells, and ways to reach a particular cell.

It uses the service as an operator does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import psutil

from app.serve.names import cell_names
from app.settings import Settings, variable_of
from ops.bench.processes import ROOT, BenchError, free_port
from ops.command import COMMAND, for_command, title_of
from rollout.views import AuditPage, RollbackView, RolloutView, SessionView

START_S = 60.0
WITHIN_S = 20.0
POLL_S = 0.02
TRIES = 400
T = TypeVar("T")


async def until(true: Callable[[], Awaitable[T]], within_s: float = WITHIN_S, what: str = "") -> T:
    """Call again until the result is true, and return it. Raises `BenchError` if that takes too long."""
    end = time.monotonic() + within_s
    while not (answer := await true()):
        if time.monotonic() >= end:
            raise BenchError(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(POLL_S)
    return answer


class CellDesk:
    """The API of one particular cell, over one connection that is opened again when it was closed."""

    def __init__(self, fleet: Fleet, cell: str) -> None:
        self.cell = cell
        self._fleet = fleet
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def reached(self) -> httpx.AsyncClient:
        """A kept-alive connection to this cell; which cell accepts a new connection is random. Raises `BenchError`."""
        for _ in range(TRIES):
            if self._http is None:
                self._http = self._fleet.client(timeout=2)
            try:
                if (await self._http.get("/readyz")).json()["cell"] == self.cell:
                    return self._http
            except httpx.TransportError:
                if not self._fleet.lives:
                    raise
            await self.close()
        raise BenchError(f"no connection reached cell {self.cell}")

    async def view(self) -> RolloutView:
        answer = await (await self.reached()).get("/api/rollout")
        return msgspec.json.decode(answer.content, type=RolloutView)

    async def sessions(self) -> list[SessionView]:
        answer = await (await self.reached()).get("/api/sessions", params={"limit": 20_000})
        return msgspec.json.decode(answer.content, type=list[SessionView])

    async def get(self, path: str, accept: str = "application/json") -> httpx.Response:
        return await (await self.reached()).get(path, headers={"Accept": accept})

    async def put(self, address: str, **body: object) -> httpx.Response:
        return await (await self.reached()).put(address, json=body)

    async def delete(self, address: str) -> httpx.Response:
        return await (await self.reached()).delete(address)

    async def post(self, address: str, **body: object) -> httpx.Response:
        return await (await self.reached()).post(address, json=body, timeout=30)

    async def command(
        self,
        verb: str,
        revision: int | None = None,
        *,
        method: str = "POST",
        before: Callable[[], None] = lambda: None,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        """Change the rollout or its plan; `before` is called right before the request is sent."""
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        http = await self.reached()
        before()
        told = {"reason": "chaos", **(body or {})}
        return await http.request(method, f"/api/rollout/{verb}", json=told, headers=headers, timeout=30)

    async def set(self, percentage: int, before: Callable[[], None] = lambda: None) -> RolloutView:
        """`set N`, based on the current revision. Raises `BenchError` if it is refused."""
        revision = (await self.view()).revision
        answer = await self.command("percentage", revision, before=before, body={"percentage": percentage})
        if answer.status_code != 200:
            raise BenchError(f"set {percentage}: {answer.text}")
        return msgspec.json.decode(answer.content, type=RolloutView)

    async def rollback(self) -> RollbackView:
        """A rollback, as it stands when it is answered. Raises `BenchError` when it is refused."""
        answer = await self.command("rollback")
        if answer.status_code != 200:
            raise BenchError(f"rollback: {answer.text}")
        done = msgspec.json.decode(answer.content, type=RolloutView).last_rollback
        assert done is not None  # it was answered
        return done


class Fleet:
    """One `crossfade serve --cells N`."""

    def __init__(
        self,
        process: psutil.Process,
        url: str,
        token: str,
        environ: Mapping[str, str],
        names: list[str],
        folder: Path,
    ) -> None:
        self.process = process
        self.folder = folder
        self.url = url
        self.ws = url.replace("http", "ws", 1) + "/ws"
        self.environ = environ
        self.names = names
        self._token = token
        self._desks: dict[str, CellDesk] = {}

    def client(self, timeout: float) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=timeout, limits=limits, trust_env=False,
            verify=False,  # it is plain HTTP, and to read the system's authorities takes longer than the request
        )  # fmt: skip

    def __getitem__(self, cell: str) -> CellDesk:
        return self._desks.setdefault(cell, CellDesk(self, cell))

    async def close(self) -> None:
        for desk in self._desks.values():
            await desk.close()

    # -- processes ----------------------------------------------------------------------------------------------------

    def cells(self) -> dict[str, psutil.Process]:
        """The running cells by name; a single cell is the process that was started, not its child."""
        if len(self.names) == 1:
            return {self.names[0]: self.process} if self.lives else {}
        found = {}
        for child in self.process.children():  # type: ignore[no-untyped-call]
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                before, _, name = title_of(child).partition("crossfade: gateway ")
                if name and not before:
                    found[name] = child
        return found

    def signal(self, cell: str, number: signal.Signals) -> int:
        """Send a signal to a cell; returns its process id."""
        process = self.cells()[cell]
        process.send_signal(number)  # type: ignore[no-untyped-call]
        return int(process.pid)

    @property
    def lives(self) -> bool:
        """Whether the parent runs."""
        try:
            return bool(self.process.status() != psutil.STATUS_ZOMBIE)  # type: ignore[no-untyped-call]
        except psutil.NoSuchProcess:
            return False

    def everything(self) -> list[psutil.Process]:
        """The parent and all its descendants."""
        return [self.process, *self.process.children(recursive=True)]  # type: ignore[no-untyped-call]

    def living(self) -> list[psutil.Process]:
        """The processes of `everything` that have not ended; one may end during the check."""
        found = []
        for each in self.everything():
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.status() != psutil.STATUS_ZOMBIE:  # type: ignore[no-untyped-call]
                    found.append(each)
        return found

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def complete(self, within_s: float = START_S) -> None:
        """Wait until every cell serves and knows of all others, with v3 available."""

        async def all_there() -> bool:
            if not self.lives:
                raise BenchError("the service has ended")
            with contextlib.suppress(httpx.TransportError, msgspec.DecodeError, BenchError):
                if set(self.cells()) != set(self.names):
                    return False
                views = [await self[name].view() for name in self.names]
                return all(
                    {cell.name for cell in view.cells} >= set(self.names) and all(path.available for path in view.paths)
                    for view in views
                )
            return False

        await until(all_there, within_s, "all cells serve")

    async def verified(self, cell: str, within_s: float = WITHIN_S, *, id: str | None = None) -> RollbackView:
        """Wait until the last rollback, or the one with this id, is verified in this cell's view; returns it."""

        async def done() -> RollbackView | None:
            last = (await self[cell].view()).last_rollback
            return last if last is not None and last.verified_at is not None and id in (None, last.id) else None

        found = await until(done, within_s, "the rollback is verified")
        assert found is not None
        return found

    async def audit(self, cell: str) -> AuditPage:
        return msgspec.json.decode((await self[cell].get("/api/rollout/events?limit=200")).content, type=AuditPage)

    async def begin(self, *words: str) -> asyncio.subprocess.Process:
        """Start the command."""
        return await asyncio.create_subprocess_exec(
            *COMMAND, *words, cwd=ROOT, env={**self.environ, "CROSSFADE_URL": self.url},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def run(self, *words: str) -> tuple[int, str]:
        """Run the command; returns its exit code and its output."""
        process = await self.begin(*words)
        output, _ = await process.communicate()
        assert process.returncode is not None  # it has ended
        return process.returncode, output.decode()


@contextlib.asynccontextmanager
async def fleet(
    folder: Path, cells: int, *, port: int = 0, environ: Mapping[str, str] | None = None, **settings: str
) -> AsyncIterator[Fleet]:
    """Start it, wait until every cell serves, and end it; `settings` by field, `environ` for what is none.

    Raises `BenchError` when it does not come up, or when a process is left.
    """
    port = port or free_port()
    fields = {
        "bind": f"127.0.0.1:{port}",
        "data": str(folder / "data"),
        "rate_messages_per_minute": "1000000",
        "rate_messages_burst": "1000000",
        "connections_per_user": "100",
        "shutdown_s": "1",
        **settings,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    environ = for_command({**kept, **(environ or {}), **{variable_of(name): value for name, value in fields.items()}})
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - pathlib's own is refused in a coroutine
    with (folder / "service.log").open("ab") as output:
        started = await asyncio.create_subprocess_exec(
            *COMMAND, "serve", "--cells", str(cells), cwd=ROOT, env=environ,
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    service: Fleet | None = None
    try:
        token_file = folder / "data" / "operator.token"

        async def token_is_there() -> bool:
            return token_file.exists()

        await until(token_is_there, START_S, "the operator's token")
        service = Fleet(
            psutil.Process(started.pid),  # type: ignore[no-untyped-call]
            f"http://127.0.0.1:{port}",
            token_file.read_text().strip(),
            environ,
            cell_names(Settings(bind=fields["bind"], store=fields.get("store", "sqlite")), cells),
            folder,
        )
        await service.complete()
        yield service
    finally:
        if service is not None:
            await service.close()
        await _end(started)


async def _end(started: asyncio.subprocess.Process) -> None:
    """End the service by SIGTERM, or by SIGKILL if needed. No descendant may be left."""
    if started.returncode is not None:
        return
    try:
        below = psutil.Process(started.pid).children(recursive=True)  # type: ignore[no-untyped-call]
    except psutil.NoSuchProcess:  # it has ended, but its exit status has not arrived yet
        await started.wait()
        return
    started.terminate()
    try:
        async with asyncio.timeout(40):
            await started.wait()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
        _, alive = await asyncio.to_thread(psutil.wait_procs, below, 10)
        for process in alive:
            process.kill()
        if alive:
            raise BenchError(f"left behind: {alive}")
