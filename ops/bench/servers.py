"""The servers that are compared: ours, started as people start it, and nginx in front of two plain backends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops.bench.processes import ROOT, BenchError, free_port, running
from ops.command import COMMAND, for_command

PERCENTAGE = 50
"""Both sides split their users over both paths, so that all processes work."""
UNLIMITED = "1000000000"

NGINX = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 9000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  split_clients "$arg_user" $path {{ {percentage}% v3; * v2; }}
  upstream v2 {{ server 127.0.0.1:{v2}; }}
  upstream v3 {{ server 127.0.0.1:{v3}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://$path;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_read_timeout 1h;
      proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Running:
    """A server under test: its address and its processes."""

    name: str
    url: str
    """Address of its sockets, with `{user}`."""
    base: str
    process: psutil.Process
    workers: tuple[psutil.Process, ...] = ()
    """Processes behind `process` that it did not start."""


@contextlib.asynccontextmanager
async def crossfade(folder: Path, *, pinned: str = "", cells: str = "1", **settings: str) -> AsyncIterator[Running]:
    """`crossfade serve` with the limits out of the way, at `PERCENTAGE` % on v3; `settings` by field name.

    With `pinned`, this user alone is on v3.
    """
    port = free_port()
    environ = for_command(
        {
            **os.environ,
            "CROSSFADE_BIND": f"127.0.0.1:{port}",
            "CROSSFADE_DATA": str(folder / "crossfade"),
            "CROSSFADE_RATE_MESSAGES_PER_MINUTE": UNLIMITED,
            "CROSSFADE_RATE_MESSAGES_BURST": UNLIMITED,
            "CROSSFADE_IDLE_S": "3600",
            **{f"CROSSFADE_{name.upper()}": value for name, value in settings.items()},
        }
    )
    async with running([*COMMAND, "serve", "--cells", cells], folder / "crossfade.log", port, environ) as process:
        wanted = ["pin", pinned, "v3"] if pinned else ["set", str(PERCENTAGE)]
        await _say([*COMMAND, *wanted, "--url", f"http://127.0.0.1:{port}"], environ)
        yield Running("crossfade", f"ws://127.0.0.1:{port}/ws?user={{user}}", f"http://127.0.0.1:{port}", process)


async def _say(command: list[str], environ: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environ,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    if process.returncode:
        raise BenchError(f"crossfade {' '.join(command[3:])}: {output.decode()}")


@contextlib.asynccontextmanager
async def backend(folder: Path, name: str) -> AsyncIterator[Running]:
    """A running plain backend until the block ends."""
    port = free_port()
    async with running([sys.executable, "-m", "ops.bench.backend", str(port)], folder / f"{name}.log", port) as process:
        yield Running(name, f"ws://127.0.0.1:{port}/ws?user={{user}}", f"http://127.0.0.1:{port}", process)


@contextlib.asynccontextmanager
async def nginx_split(folder: Path, workers: int = 1) -> AsyncIterator[Running]:
    """nginx with `split_clients` in front of two plain backends; its configuration lives in `folder`.

    One worker: on two cores, beside two backends and the client, two workers were up to a tenth slower.
    """
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        raise BenchError("nginx is not installed; `make bench` installs it where it may")
    async with backend(folder, "peer-v2") as v2, backend(folder, "peer-v3") as v3:
        port = free_port()
        ports = {"port": port, "v2": v2.base.rpartition(":")[2], "v3": v3.base.rpartition(":")[2]}
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, workers=workers, percentage=PERCENTAGE, **ports))
        command = [binary, "-e", f"{folder}/nginx-error.log", "-p", str(folder), "-c", str(config)]
        async with running(command, folder / "nginx.log", port) as process:
            base = f"http://127.0.0.1:{port}"
            url = f"ws://127.0.0.1:{port}/ws?user={{user}}"
            yield Running("nginx", url, base, process, workers=(v2.process, v3.process))
