"""The cost of single steps in processor time: deciding a session, counting a message, making a supervisor.

The steps are called as the service calls them, without sockets and other processes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.flags.document import render
from app.flags.embedded import EmbeddedEngine, EmbeddedFlags
from app.gateway.cell import Cell
from app.gateway.identity import Identity
from app.gateway.session import Session
from app.metrics.counters import Counters
from app.pool.death import Death
from app.serve.service import bucket_of
from app.settings import Settings
from app.supervisor.contract import Opening
from app.supervisor.loading import BUILTIN, load_path
from ops.bench.report import Result, compare
from ops.bench.rows import Bench
from rollout.assign import View
from rollout.names import PathName
from rollout.state import Rollout

NAME = "parts"
WHAT = "processor time of one step: deciding a session in a sweep, counting a message, making a supervisor"
SESSIONS = 10_000
MESSAGES = 100_000
SUPERVISORS = 2_000
ROLLOUT = Rollout(phase="progressing", percentage=0, stage=1)

Step = Callable[[], Awaitable[float]]
"""Call it many times; returns the microseconds of one call."""


class Deaf:
    """Observes a cell and does nothing."""

    def session_ended(self, session: Session) -> None: ...
    def session_committed(self, session: Session) -> None: ...
    def path_changed(self, path: PathName, death: Death | None) -> None: ...


class Nobody:
    """A socket that discards everything."""

    def send(self, frame: bytes) -> None: ...
    def hold(self, frame: bytes) -> None: ...
    def hurry(self) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def buffered_bytes(self) -> int:
        return 0


async def run(bench: Bench) -> AsyncIterator[Result]:
    """Measure ours and the peer in turn."""

    async def line(point: str, ours: Step, peer_name: str, peer: Step, must: float, aim: float) -> Result:
        found = [(await ours(), await peer()) for _ in range(bench.rounds + 1)]
        return compare(
            found[1:], row=NAME, point=point, unit="µs", peer_name=peer_name, better="lower",
            must=must, aim=aim, judged="ours",
        )  # fmt: skip

    yield await line("deciding a session", await sweeping(), "UnleashClient.is_enabled", asking(), 2.0, 0.5)
    yield await line("counting a message", counting(), "prometheus-client", labelling(), 1.0, 0.3)
    yield await line("making a supervisor", making("v3"), "v2", making("v2"), 100.0, 100.0)


async def sweeping() -> Step:
    """A sweep over all sessions of a cell, in which none has to move."""
    flags = EmbeddedFlags(Settings().flag)
    await flags.apply(ROLLOUT)
    cell = Cell("bench", Settings(), Counters(), lambda user, thread: True, bucket_of, observer=Deaf())
    view = View(flag=flags.rule(), v3_available=True)
    for number in range(SESSIONS):
        cell.open(Identity(f"user-{number}", "t"), Nobody(), f"c-{number}")

    async def step() -> float:
        began = time.thread_time()
        report = await cell.verify(cell.apply(view))
        seconds = time.thread_time() - began
        assert report.verified and report.sessions_moved == 0
        return seconds * 1e6 / SESSIONS

    return step


def asking() -> Step:
    """UnleashClient's own evaluation, without network."""
    engine = EmbeddedEngine()
    flag = Settings().flag
    engine.load(render(ROLLOUT, flag))
    users = [{"userId": f"user-{number}"} for number in range(SESSIONS)]

    async def step() -> float:
        began = time.thread_time()
        for user in users:
            engine.is_enabled(flag, user)
        return (time.thread_time() - began) * 1e6 / SESSIONS

    return step


def counting() -> Step:
    """The cost of metrics and of the page's figures per message."""
    ledger = Counters()

    async def step() -> float:
        began = time.thread_time()
        for _ in range(MESSAGES):
            ledger.message("v3", "websocket", "ok", 0.0123)
        return (time.thread_time() - began) * 1e6 / MESSAGES

    return step


def labelling() -> Step:
    """The same with a labelled counter and histogram, looked up at each message."""
    registry = CollectorRegistry()
    counter = Counter("messages", "By how they ended.", ["path", "transport", "outcome"], registry=registry)
    histogram = Histogram("seconds", "From acceptance.", ["path"], registry=registry)

    async def step() -> float:
        began = time.thread_time()
        for _ in range(MESSAGES):
            counter.labels("v3", "websocket", "ok").inc()
            histogram.labels("v3").observe(0.0123)
        return (time.thread_time() - began) * 1e6 / MESSAGES

    return step


def making(path: PathName) -> Step:
    """A session's supervisor, made at its first message."""
    serving = load_path(BUILTIN, path, thread_secret=b"bench")
    openings = [Opening(f"c-{number}", f"user-{number}", f"t-{number}", 1.0) for number in range(SUPERVISORS)]

    async def step() -> float:
        began = time.thread_time()
        made = [await serving.make(opening) for opening in openings]
        seconds = time.thread_time() - began
        for supervisor in made:
            await supervisor.close()
        return seconds * 1e6 / SUPERVISORS

    return step
