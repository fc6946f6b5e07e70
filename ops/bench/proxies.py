"""`python -m ops.bench.proxies`: aborts a canary, 10 % back to 0 %, behind Crossfade, nginx and HAProxy.

It prints what happens to live sockets: how many are closed, how many stay on v3 and for how long, how many messages get
no answer, and how many are run twice because a client resent them. There is no verdict.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from app.cli.terminal import table
from ops.bench.aborts import Aborted, abort
from ops.bench.processes import ROOT, BenchError, free_port, running
from ops.chaos.service import chaos_service

RESULTS = ROOT / "ops" / "bench" / "results"
CLOSE_AFTER_S = 2
LIMIT_S = 120.0

NGINX = """
daemon off;
worker_processes 1;
worker_shutdown_timeout {shutdown};
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log crit;
events {{ worker_connections 9000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  split_clients "$arg_user" $path {{ {percentage} * v2; }}
  upstream v2 {{ server 127.0.0.1:{v2}; }}
  upstream v3 {{ server 127.0.0.1:{v3}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://$path; proxy_http_version 1.1; proxy_read_timeout 1h; proxy_buffering off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 9000
  stats socket {folder}/haproxy.sock level admin
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend all
  bind 127.0.0.1:{port} backlog 4096
  default_backend paths
backend paths
  balance url_param user
  hash-type consistent
  server v2 127.0.0.1:{v2} weight 230
  server v3 127.0.0.1:{v3} weight 26
"""


@dataclass(frozen=True)
class Peer:
    """A service with 10 % on v3, its operator's way to abort the canary, and how often each message ran."""

    ws: str
    take_back: Callable[[], Awaitable[None]]
    ran: Callable[[], Awaitable[Counter[str]]]


@contextlib.asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[Peer]:
    """Crossfade: `rollback`."""
    async with chaos_service(folder) as service:
        await service.set(10)

        async def take_back() -> None:
            await service.rollback()

        async def ran() -> Counter[str]:
            return Counter()  # the documents count runs, and the clients' histories read them back

        yield Peer(service.ws, take_back, ran)


@contextlib.asynccontextmanager
async def backends(folder: Path) -> AsyncIterator[tuple[dict[str, int], Callable[[], Awaitable[Counter[str]]]]]:
    """Two plain services: their ports, and what they ran."""
    ports = {"v2": free_port(), "v3": free_port()}
    command = [sys.executable, "-m", "ops.bench.working_backend"]

    async def ran() -> Counter[str]:
        total: Counter[str] = Counter()
        async with httpx.AsyncClient(trust_env=False) as client:
            for port in ports.values():
                total.update((await client.get(f"http://127.0.0.1:{port}/ran")).json())
        return total

    async with (
        running([*command, "v2", str(ports["v2"])], folder / "v2.log", ports["v2"]),
        running([*command, "v3", str(ports["v3"])], folder / "v3.log", ports["v3"]),
    ):
        yield ports, ran


def nginx(shutdown_s: int | None) -> Callable[[Path], contextlib.AbstractAsyncContextManager[Peer]]:
    """nginx `split_clients`, aborted by a reload. `shutdown_s`: when its old workers close their sockets."""

    @contextlib.asynccontextmanager
    async def peer(folder: Path) -> AsyncIterator[Peer]:
        async with backends(folder) as (ports, ran):
            port, config = free_port(), folder / "nginx.conf"

            def write(percentage: str) -> None:
                shutdown = f"{shutdown_s}s" if shutdown_s else "1h"
                config.write_text(
                    NGINX.format(folder=folder, port=port, percentage=percentage, shutdown=shutdown, **ports)
                )

            write("10% v3;")
            command = [binary("nginx"), "-e", f"{folder}/nginx-error.log", "-p", str(folder), "-c", str(config)]
            async with running(command, folder / "nginx.log", port) as process:

                async def take_back() -> None:
                    write("")
                    process.send_signal(signal.SIGHUP)  # type: ignore[no-untyped-call]

                yield Peer(f"ws://127.0.0.1:{port}/ws", take_back, ran)

    return peer


def haproxy(*commands: str) -> Callable[[Path], contextlib.AbstractAsyncContextManager[Peer]]:
    """HAProxy with consistent hashing; the canary is aborted by these commands on its socket."""

    @contextlib.asynccontextmanager
    async def peer(folder: Path) -> AsyncIterator[Peer]:
        async with backends(folder) as (ports, ran):
            port, config = free_port(), folder / "haproxy.cfg"
            config.write_text(HAPROXY.format(folder=folder, port=port, **ports))
            async with running([binary("haproxy"), "-db", "-f", str(config)], folder / "haproxy.log", port):

                async def take_back() -> None:
                    for command in commands:
                        reader, writer = await asyncio.open_unix_connection(str(folder / "haproxy.sock"))
                        writer.write(f"{command}\n".encode())
                        await reader.read()
                        writer.close()

                yield Peer(f"ws://127.0.0.1:{port}/ws", take_back, ran)

    return peer


def binary(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise BenchError(f"{name} is not installed")
    return found


PEERS: dict[str, Callable[[Path], contextlib.AbstractAsyncContextManager[Peer]]] = {
    "crossfade rollback": ours,
    "nginx reload": nginx(None),
    f"nginx reload, worker_shutdown_timeout {CLOSE_AFTER_S}s": nginx(CLOSE_AFTER_S),
    "haproxy drain": haproxy("set server paths/v3 state drain"),
    "haproxy shutdown sessions": haproxy("set server paths/v3 state maint", "shutdown sessions server paths/v3"),
}


async def measure(clients: int, names: list[str]) -> dict[str, Aborted]:
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="crossfade-proxies-") as folder:
            async with asyncio.timeout(LIMIT_S), PEERS[name](Path(folder)) as peer:
                found[name] = await abort(peer.ws, clients, peer.take_back, peer.ran)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.proxies", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=sorted(PEERS), default=list(PEERS))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")
    chosen = parser.parse_args()
    try:
        found = asyncio.run(measure(chosen.clients, chosen.only))
    except (BenchError, TimeoutError) as error:
        print(f"proxies: {error or 'ran out of time'}", file=sys.stderr)
        return 1
    print(table(("10 % to 0 %", *Aborted.HEADS), [(name, *each.row()) for name, each in found.items()]))
    chosen.results.mkdir(parents=True, exist_ok=True)
    file = chosen.results / time.strftime("proxies-%Y%m%d-%H%M%S.json", time.gmtime())
    file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
