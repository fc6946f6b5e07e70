"""`python -m ops.bench.hostile [NAME …]`: attacks a real service beside well-behaved clients, and shows who noticed.

Loopback only, and each attack is over after `ATTACK_S`. Exit code 1 if somebody else noticed, or memory stayed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from multiprocessing import Process, Queue
from pathlib import Path

import httpx
import msgspec
from rich.console import Console
from rich.table import Table
from websockets.frames import Frame, Opcode

from ops.bench.processes import ROOT, BenchError
from ops.chaos.client import ChaosClient
from ops.chaos.service import ChaosService, chaos_service

ATTACK_S = 8.0
BACK_S = 60.0
CLIENTS = 20
MESSAGE_EVERY_S = 0.25
P99_MS, ANSWER_S, GROWTH_MIB, STAYS_MIB = 50.0, 1.0, 100.0, 10.0
MIB = 1024 * 1024
Said = Counter[str]
Attack = Callable[[int, Said], Awaitable[None]]


class Seen(msgspec.Struct, kw_only=True):
    """What one attack did."""

    name: str
    before_mib: float = 0.0
    peak_mib: float = 0.0
    after_mib: float = 0.0
    p99_ms: float = 0.0
    ready_s: float = 0.0
    """Of the slowest /readyz."""
    rollback_s: float = 0.0
    """Until it was answered."""
    verified: bool = False
    dropped: int = 0
    """Well-behaved clients that were closed."""
    told: dict[str, int] = {}
    """What the attackers were told."""

    @property
    def wrong(self) -> list[str]:
        """What somebody noticed."""
        found = {
            "p99": self.p99_ms > P99_MS,
            "peak": self.peak_mib - self.before_mib > GROWTH_MIB,
            "after": self.after_mib - self.before_mib > STAYS_MIB,
            "readyz": self.ready_s > ANSWER_S,
            "rollback": self.rollback_s > ANSWER_S or not self.verified,
            "dropped": self.dropped > 0,
        }
        return [name for name, is_wrong in found.items() if is_wrong]


# -- what is sent -----------------------------------------------------------------------------------------------------


def upgrade(user: str, extra: str = "") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /ws?user={user} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    ).encode()


def masked(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=True) for frame in frames)


async def told_by(reader: asyncio.StreamReader, said: Said) -> None:
    """Note how the service ends a connection: a status, a close code, or nothing."""
    last = b""
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            last = (last + data)[-4096:]
    if last.startswith(b"HTTP/1.1 ") and b" 101 " not in last[:20]:
        said[last[9:12].decode()] += 1
        return
    at = max(last.rfind(bytes((0x88, size))) for size in range(2, 60))
    said[str(int.from_bytes(last[at + 2 : at + 4], "big")) if at >= 0 else "closed"] += 1


def flood(piece: bytes, *, reads: bool = True, sockets: int = 4, first: bytes | None = None) -> Attack:
    """Send a piece again and again on some sockets; `first` in place of an upgrade."""

    async def one(port: int, number: int, said: Said) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        listening = asyncio.create_task(told_by(reader, said)) if reads else None
        writer.write(upgrade(f"hostile-{number}") if first is None else first)
        with contextlib.suppress(OSError):
            while True:
                writer.write(piece)
                await writer.drain()
        if listening is not None:
            await listening
        else:
            said["cut"] += 1

    async def attack(port: int, said: Said) -> None:
        await asyncio.gather(*(one(port, number, said) for number in range(sockets)))

    return attack


def knock(data: bytes, count: int) -> Attack:
    """Open connections, send this once on each, and wait."""

    async def one(port: int, said: Said) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            said["refused"] += 1
            return
        with contextlib.suppress(OSError):
            writer.write(data)
            await writer.drain()
        await told_by(reader, said)

    async def attack(port: int, said: Said) -> None:
        await asyncio.gather(*(one(port, said) for _ in range(count)))

    return attack


async def storm(port: int, said: Said) -> None:
    """Handshakes as fast as possible."""

    async def again() -> None:
        while True:
            await knock(upgrade("storm"), 1)(port, said)

    await asyncio.gather(*(again() for _ in range(50)))


MESSAGE = Frame(Opcode.TEXT, b'{"type":"chat","payload":{"content":"x"}}')
CONT = Frame(Opcode.CONT, b"x", False)
FORM = b"POST /sign-in/token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
ATTACKS: dict[str, Attack] = {
    "nobody": knock(b"", 0),
    "pings": flood(masked(Frame(Opcode.PING, b"x" * 125)) * 200),
    "pings, never reads": flood(masked(Frame(Opcode.PING, b"x" * 125)) * 200, reads=False),
    "pongs": flood(masked(Frame(Opcode.PONG, b"")) * 500),
    "binary frames": flood(masked(Frame(Opcode.BINARY, b"")) * 500),
    "empty fragments": flood(masked(Frame(Opcode.TEXT, b"", False)) + masked(Frame(Opcode.CONT, b"", False)) * 500),
    "fragments of 1 byte": flood(masked(Frame(Opcode.TEXT, b"x", False), *[CONT] * 100, Frame(Opcode.CONT, b"x"))),
    "messages over the rate": flood(masked(MESSAGE) * 100),
    "large messages": flood(masked(Frame(Opcode.TEXT, b"x" * 60_000))),
    "a header without end": flood(b"x" * 65_536, first=b"GET / HTTP/1.1\r\nX: "),
    "lines without end": flood(b"X: y\r\n" * 1000, first=b"GET / HTTP/1.1\r\n"),
    "chunk extensions": flood(b"x" * 65_536, first=FORM + b"Transfer-Encoding: chunked\r\n\r\n1;"),
    "10 MB bodies held open": knock(FORM + b"Content-Length: 10000000\r\n\r\n" + b"a&" * 4_000_000, 40),
    "a form of a&a&": knock(FORM + b"Content-Length: 9800000\r\n\r\n" + b"a&" * 4_900_000, 4),
    "1,000 half handshakes": knock(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n", 1000),
    "600 silent sockets": knock(b"", 600),
    "handshakes with 9 KB headers": knock(upgrade("large", f"X-Large: {'x' * 9216}\r\n"), 100),
    "a storm of handshakes": storm,
    "1,000 event streams": knock(b"GET /changes HTTP/1.1\r\nHost: 127.0.0.1\r\nHX-Request: true\r\n\r\n", 1000),
}


def hostile(name: str, port: int, answer: Queue[dict[str, int]]) -> None:
    """The process of the attackers."""
    os.nice(19)
    said: Said = Counter()

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ATTACK_S):
                await ATTACKS[name](port, said)
                await asyncio.sleep(ATTACK_S)

    with contextlib.suppress(Exception):
        asyncio.run(run())
    answer.put(dict(said))


# -- who must not notice ----------------------------------------------------------------------------------------------


async def talk(client: ChaosClient, over: asyncio.Event, latencies: list[float]) -> None:
    while not over.is_set() and client.is_open:
        began = time.monotonic()
        client.say("sleep=0")
        with contextlib.suppress(TimeoutError):
            await client.quiet(20)
        latencies.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(MESSAGE_EVERY_S)


async def ask(service: ChaosService, over: asyncio.Event, seen: Seen) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        url = service.ws.replace("ws", "http", 1).removesuffix("/ws") + "/readyz"
        while not over.is_set():
            began = time.monotonic()
            with contextlib.suppress(httpx.HTTPError):
                await http.get(url)
            seen.ready_s = max(seen.ready_s, time.monotonic() - began)
            seen.peak_mib = max(seen.peak_mib, memory_of(service))
            await asyncio.sleep(0.1)


def memory_of(service: ChaosService) -> float:
    return float(service.process.memory_info().rss) / MIB


async def attacked(name: str, folder: Path) -> Seen:
    """One attack on a service of its own."""
    seen = Seen(name=name)
    limits = {"rate_messages_per_minute": "600", "rate_messages_burst": "50", "rate_connections_per_second": "50"}
    async with chaos_service(folder, **limits) as service:
        await service.ignore_evidence()
        await service.set(100)
        clients = [ChaosClient(service.ws, f"good-{number}") for number in range(CLIENTS)]
        for client in clients:
            await client.connect()
        over, latencies = asyncio.Event(), list[float]()
        talking = [asyncio.create_task(talk(client, over, latencies)) for client in clients]
        await asyncio.sleep(2)
        latencies.clear()
        seen.before_mib = seen.peak_mib = memory_of(service)
        answer: Queue[dict[str, int]] = Queue()
        port = int(service.ws.rpartition(":")[2].partition("/")[0])
        attackers = Process(target=hostile, args=(name, port, answer))
        attackers.start()
        asking = asyncio.create_task(ask(service, over, seen))
        await asyncio.sleep(ATTACK_S / 2)
        began = time.monotonic()
        async with httpx.AsyncClient(trust_env=False, timeout=20, headers=service.headers) as http:
            base = service.ws.replace("ws", "http", 1).removesuffix("/ws")
            with contextlib.suppress(httpx.HTTPError):
                await http.post(f"{base}/api/rollout/rollback", json={"reason": "attacked"})
            seen.rollback_s = time.monotonic() - began
        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(10):
                while not seen.verified:
                    done = (await service.view()).last_rollback
                    seen.verified = done is not None and done.verified_at is not None
                    await asyncio.sleep(0.05)
        seen.told = await asyncio.to_thread(answer.get, True, ATTACK_S + 30)
        await asyncio.to_thread(attackers.join, 10)
        over.set()
        await asyncio.gather(*talking, asking)
        seen.p99_ms = statistics.quantiles(latencies, n=100)[98]
        seen.dropped = sum(not client.is_open for client in clients)
        end = time.monotonic() + BACK_S
        while True:
            seen.after_mib = memory_of(service)
            if seen.after_mib - seen.before_mib <= STAYS_MIB or time.monotonic() > end:
                break
            await asyncio.sleep(1)
        for client in clients:
            await client.close()
    return seen


def as_table(rows: list[Seen]) -> Table:
    table = Table("attack", "MiB before", "peak", "after", "p99 ms", "readyz s", "rollback s", "told", "wrong")
    for each in rows:
        told = ", ".join(f"{count} x {what}" for what, count in sorted(each.told.items())) or "-"
        table.add_row(
            each.name, f"{each.before_mib:.0f}", f"{each.peak_mib:.0f}", f"{each.after_mib:.0f}", f"{each.p99_ms:.0f}",
            f"{each.ready_s:.2f}", f"{each.rollback_s:.2f}", told, ", ".join(each.wrong) or "-",
        )  # fmt: skip
    return table


def main() -> int:
    names = sys.argv[1:] or list(ATTACKS)
    if unknown := [name for name in names if name not in ATTACKS]:
        print(f"no such attack: {', '.join(unknown)}; there are: {', '.join(ATTACKS)}", file=sys.stderr)
        return 2
    rows: list[Seen] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="crossfade-hostile-") as folder:
            try:
                rows.append(asyncio.run(attacked(name, Path(folder))))
            except (BenchError, TimeoutError, ValueError) as error:
                print(f"{name}: {error!r}", file=sys.stderr)
                return 1
        print(f"{name}: {', '.join(rows[-1].wrong) or 'nobody noticed'}", file=sys.stderr, flush=True)
    Console(width=None if sys.stdout.isatty() else 170).print(as_table(rows))
    file = ROOT / "ops" / "bench" / "results" / time.strftime("hostile-%Y%m%d-%H%M%S.json", time.gmtime())
    file.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")
    print(file)
    return int(any(each.wrong for each in rows))


if __name__ == "__main__":
    sys.exit(main())
