"""A real PostgreSQL in a folder of its own, without durability, which can be stopped, hung and started again."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from ops.bench.processes import BenchError, free_port

START_S = 30.0
STOP_S = 15.0
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "max_connections": "60"}

LISTENS = r"query ~ '^(LISTEN|SELECT rollout\.revision\s+FROM)'"
"""The last statement of a connection that listens: LISTEN, or the query after a second without a notification."""


class PostgresServer:
    """A server on loopback; `url` is one of an empty database of its own, made by `database`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = find_programs()
        self._account = account()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self.port = free_port()

    def make(self) -> None:
        """The files of an empty cluster."""
        if self._account:
            os.chown(self._folder, *_ids(self._account))
        words = ["-D", self._data, "-U", "crossfade", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [self._programs / "initdb", *words], capture_output=True, text=True, cwd=self._folder, check=False,
            user=self._account, group=self._account and _ids(self._account)[1], extra_groups=self._account and [],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    async def start(self) -> None:
        """Start it and wait until it answers; does nothing if it runs."""
        if self._process is None:
            self._process = self._run()
        end = time.monotonic() + START_S
        while True:
            assert self._process.poll() is None and time.monotonic() < end, (self._folder / "log").read_text()
            try:
                await self._execute("SELECT 1")
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.02)
                continue
            return

    def _run(self) -> subprocess.Popen[bytes]:
        settings = {**FAST, "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *words],
                cwd=self._folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                user=self._account, group=self._account and _ids(self._account)[1],
                extra_groups=self._account and [],
            )  # fmt: skip

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends all sessions and then the server; SIGQUIT is like a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_S)
            self._process = None

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Stop all of its processes: the kernel still accepts connections, but nobody answers."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)  # type: ignore[no-untyped-call]
        with standing_still([server, *server.children(recursive=True)]):  # type: ignore[no-untyped-call]
            yield

    async def listeners(self, url: str) -> list[psutil.Process]:
        """The server processes whose clients listen for changes of the record in one database."""
        name = url.rpartition("/")[2]
        rows = await self._execute(f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND {LISTENS}")
        return [psutil.Process(row["pid"]) for row in rows]  # type: ignore[no-untyped-call]

    async def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        await self._execute(f"CREATE DATABASE {name}")
        return self._url(name)

    async def drop(self, url: str) -> None:
        """Remove a database, even if it is in use."""
        await self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    async def _execute(self, statement: str) -> Sequence[Mapping[str, Any]]:
        connection: Any = await asyncpg.connect(self._url("postgres"))  # type: ignore[no-untyped-call]
        rows: Sequence[Mapping[str, Any]] = await connection.fetch(statement)
        await connection.close()
        return rows

    def _url(self, database: str) -> str:
        return f"postgresql://crossfade@127.0.0.1:{self.port}/{database}"

    @property
    def _data(self) -> str:
        return str(self._folder / "data")


@contextmanager
def standing_still(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop these processes until the block ends; those that end meanwhile are left out."""
    for process in processes:
        process.suspend()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def running_postgres() -> AsyncIterator[PostgresServer]:
    """A running server until the block ends."""
    with postgres_folder() as folder:
        server = PostgresServer(folder)
        await asyncio.to_thread(server.make)
        await server.start()
        try:
            yield server
        finally:
            await asyncio.to_thread(server.stop)


@contextmanager
def postgres_folder() -> Iterator[Path]:
    """A folder outside pytest's, which another account may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="crossfade-postgres-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def find_programs() -> Path:
    """The folder of `initdb` and `postgres`. Raises `BenchError`, which says what to do, if there is none."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise BenchError("PostgreSQL is needed: run `make test`, which installs it, or install it yourself")


def account() -> str | None:
    """The account to run PostgreSQL as, because it refuses to run as root; None: this process is not root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _ids(name: str) -> tuple[int, int]:
    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid
