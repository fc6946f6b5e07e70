"""The load generator of all benchmarks: a process that keeps sockets open to several targets and drives one at a time.

Every target gets the same client, which needs to recognise only the event that ends a message. Commands are JSON lines
on standard input, and each is answered with one line. Run as `python -m ops.bench.client`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

TERMINAL = b'"agent_completed"'
REFUSAL = b'"error"'
HANDSHAKES = 64
SPREAD_ABOVE = 1000
SPREAD_ADDRESSES = 20
SETTLE_S = 20.0


@dataclass
class Slice:
    """The counts of one slice; a message counts if its terminal event came before the end."""

    end: float = 0.0
    again: bool = True
    """Whether an answer is followed by the next message: a closed loop."""
    messages: int = 0
    answered: int = 0
    """Including those that came after the end: the work of the servers."""
    frames: int = 0
    errors: int = 0
    latencies_s: list[float] = field(default_factory=list)


class Socket(WSListener):
    """One connection with `inflight` messages in flight while its target's slice runs."""

    def __init__(self, target: Target, index: int) -> None:
        self.target = target
        self.index = index
        self.sent: deque[float] = deque()
        self.count = 0
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.transport = None
        self.target.lost += 1

    def send(self, content: str = "hello, world") -> None:
        assert self.transport is not None
        self.count += 1
        self.sent.append(time.perf_counter())
        self.target.outstanding += 1
        body = b'{"type":"user_message","message_id":"%d-%d","payload":{"content":"%b"}}'
        self.transport.send(WSMsgType.TEXT, body % (self.index, self.count, content.encode()))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        now = time.perf_counter()
        current = self.target.slice
        current.frames += 1
        if TERMINAL not in payload:
            if REFUSAL not in payload:
                return
            current.errors += 1
        self.target.outstanding -= 1
        current.answered += 1
        began = self.sent.popleft()
        if now < current.end:
            current.messages += 1
            current.latencies_s.append(now - began)
            if current.again:
                self.send()
        elif self.target.outstanding == 0:
            self.target.settled.set()


class Target:
    """The sockets to one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sockets: list[Socket] = []
        self.slice = Slice()
        self.outstanding = 0
        self.lost = 0
        self.settled = asyncio.Event()

    async def connect(self, count: int, at_once: int = HANDSHAKES) -> None:
        """Open `count` more sockets, each of another user, at most `at_once` of them at a time."""
        gate = asyncio.Semaphore(at_once)
        first = len(self.sockets)

        async def open_one(index: int) -> Socket:
            source = (f"127.0.0.{2 + index % SPREAD_ADDRESSES}", 0) if first + count > SPREAD_ABOVE else None
            async with gate:
                url = self.url.replace("{user}", f"bench-{index:05d}")
                _, socket = await ws_connect(
                    lambda: Socket(self, index), url, websocket_handshake_timeout=30, local_addr=source
                )
            assert isinstance(socket, Socket)
            return socket

        self.sockets += await asyncio.gather(*(open_one(index) for index in range(first, first + count)))

    async def drive(self, inflight: int, seconds: float) -> dict[str, float | int | None]:
        """Keep `inflight` messages of every socket in flight for `seconds`, then wait for the last answers."""
        self.settled.clear()
        began, cpu = time.perf_counter(), time.process_time()
        self.slice = Slice(end=began + seconds)
        for _ in range(inflight):
            for socket in self.sockets:
                socket.send()
        await asyncio.sleep(seconds)
        return await self._figures(seconds, time.process_time() - cpu)

    async def pace(self, per_second: float, seconds: float) -> dict[str, float | int | None]:
        """An open loop: `per_second` messages over all sockets in turn, whether they are answered or not.

        A latency begins when its message is sent; the timer of the loop makes small bursts, a millisecond apart.
        """
        self.settled.clear()
        began, cpu = time.perf_counter(), time.process_time()
        self.slice = Slice(end=began + seconds, again=False)
        sent = 0
        while (now := time.perf_counter()) < began + seconds:
            while sent < (now - began) * per_second:
                self.sockets[sent % len(self.sockets)].send()
                sent += 1
            await asyncio.sleep(0.001)
        return await self._figures(seconds, time.process_time() - cpu)

    async def _figures(self, seconds: float, busy_s: float) -> dict[str, float | int | None]:
        if self.outstanding:
            async with asyncio.timeout(SETTLE_S):
                await self.settled.wait()
        done = self.slice
        return {
            "messages_per_second": done.messages / seconds,
            "messages": done.messages,
            "answered": done.answered,
            "frames": done.frames,
            "errors": done.errors,
            "lost": self.lost,
            "p50_ms": quantile_ms(done.latencies_s, 0.50),
            "p99_ms": quantile_ms(done.latencies_s, 0.99),
            "client_cpu": busy_s / seconds,
        }

    async def quiet(self) -> dict[str, int]:
        """Wait for missing answers; returns how many were missing."""
        waited = self.outstanding
        if waited:
            async with asyncio.timeout(SETTLE_S):
                await self.settled.wait()
        return {"waited": waited}

    async def say_once(self) -> None:
        """Send one message on every socket, a few at a time, so that all sessions have been used and are idle."""
        for start in range(0, len(self.sockets), HANDSHAKES):
            self.settled.clear()
            self.slice = Slice()
            for socket in self.sockets[start : start + HANDSHAKES]:
                socket.send()
            async with asyncio.timeout(SETTLE_S):
                await self.settled.wait()

    def close(self) -> None:
        for socket in self.sockets:
            if socket.transport is not None:
                socket.transport.disconnect()
        self.sockets = []


def quantile_ms(values_s: Sequence[float], share: float) -> float | None:
    """A quantile, one of the values, in milliseconds; None: there are no values."""
    ordered = sorted(values_s)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else None


async def obey(targets: dict[str, Target], command: dict[str, object]) -> object:
    """Execute one command; the answer is JSON."""
    name = str(command["target"])
    match command["do"]:
        case "connect":
            target = targets.setdefault(name, Target(str(command["url"])))
            await target.connect(int(str(command["sockets"])))
            return {"sockets": len(target.sockets)}
        case "storm":
            count, began = int(str(command["sockets"])), time.perf_counter()
            target = targets[name] = Target(str(command["url"]))
            await target.connect(count, at_once=count)
            return {"per_second": count / (time.perf_counter() - began)}
        case "drive":
            return await targets[name].drive(int(str(command["inflight"])), float(str(command["seconds"])))
        case "pace":
            return await targets[name].pace(float(str(command["per_second"])), float(str(command["seconds"])))
        case "say":
            targets[name].settled.clear()
            targets[name].sockets[0].send(str(command["content"]))
            return {}
        case "quiet":
            return await targets[name].quiet()
        case "say_once":
            await targets[name].say_once()
            return {"lost": targets[name].lost}
        case "close":
            targets.pop(name).close()
            return {}
        case other:
            raise ValueError(f"unknown command {other!r}")


async def main() -> None:
    """Read commands until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    targets: dict[str, Target] = {}
    while line := await reader.readline():
        try:
            answer = {"ok": await obey(targets, json.loads(line))}
        except Exception as error:  # the harness decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
