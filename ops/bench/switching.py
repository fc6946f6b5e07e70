"""One disturbance of thousands of clients, measured, and the sum of a whole run of them.

What counts is what the clients receive and what the service's metrics say.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from app.loadtest.history import Violation, by_rule
from ops.bench.crowd import WAVE_S, Crowd, InFlight
from ops.chaos.service import ChaosService
from ops.chaos.verification import said_too_early

POLL_S = 0.03
CALM_S = 0.6
BULK = 0.02
"""If no larger share of the sessions moves within `CALM_S`, the rest are waiting for their messages to end."""
HUNG_S = 6.0
"""Longer than the service's setting here, so that the worker counts as hung and is killed."""
HANG_LIMIT_S = 4.0
FROZEN_S = 3.0
"""Longer than a rollback waits for an answer, shorter than a hang, so that late events have to be fenced."""
LOADS = ("create_v3_again", "create_v3")

DOUBLED = frozenset({"run once", "exactly one terminal event"})
REORDERED = frozenset({"one at a time, in order", "numbers in order"})
GONE_BACK = frozenset({"the document never goes back"})


class Disturbance(msgspec.Struct, kw_only=True):
    """One switch, kill, stop or load, and its effect; times in milliseconds from the command."""

    what: str
    first_ms: float | None = None
    """Until the first session had moved, as polled."""
    last_ms: float | None = None
    """Until the last session without a running message had moved, as polled."""
    verified_ms: float | None = None
    new_stopped_ms: float | None = None
    existing_moved_ms: float | None = None
    took_ms: float = 0.0
    """Until the command was answered; a load waits until the old worker is empty."""
    moved: int = 0
    """Sessions that moved to the other path; at a load, sessions stay on their path."""
    in_flight: int = 0
    waited: int = 0
    """Messages that had started and completed undisturbed."""
    run_again: int = 0
    """Accepted messages, not seen to start, that completed on another path than their session's."""
    interrupted: int = 0
    """Messages that this disturbance interrupted, or for long messages a later one."""
    contradictions: list[str] = []
    """What contradicted that a rollback was verified."""

    def words(self) -> str:
        times = (("first", self.first_ms), ("last", self.last_ms), ("verified", self.verified_ms))
        spans = f"took {self.took_ms:.0f} ms  " + "  ".join(
            f"{name} {'-' if value is None else f'{value:.0f} ms'}" for name, value in times
        )
        return (
            f"{self.what:<16} {spans}  moved {self.moved}  in flight {self.in_flight}: {self.waited} waited, "
            f"{self.run_again} run again, {self.interrupted} interrupted{'  CONTRADICTED ' * bool(self.contradictions)}"
        )


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run. The first six must be zero; the last two must not be."""

    closed: int
    lost: int
    doubled: int
    reordered: int
    documents_gone_back: int
    otherwise_wrong: dict[str, int]
    examples: list[Violation]
    contradictions: list[str]
    messages: int
    moved: int
    waited: int
    run_again: int
    interrupted: int
    fenced: int

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        wrong = self.closed or self.lost or self.doubled or self.reordered or self.documents_gone_back
        return not (wrong or self.otherwise_wrong or self.contradictions)

    @property
    def tried(self) -> bool:
        """Whether the run was one that could have broken it."""
        return self.interrupted > 0 and self.fenced > 0

    def words(self) -> str:
        return "\n".join(
            [
                f"closed {self.closed}  lost {self.lost}  doubled {self.doubled}  reordered {self.reordered}  "
                f"documents gone back {self.documents_gone_back}  otherwise wrong {self.otherwise_wrong or 0}  "
                f"verified too early {len(self.contradictions)}",
                f"messages {self.messages}  sessions moved {self.moved}  waited {self.waited}  run again "
                f"{self.run_again}  interrupted {self.interrupted}  fenced {self.fenced}",
                *(f"  {each.rule}: {each.user_id}: {each.detail}" for each in self.examples),
                *self.contradictions,
            ]
        )


class Disturber:
    """Causes the disturbances and keeps their effects; the ends of messages are known when the clients have settled."""

    def __init__(self, service: ChaosService, crowd: Crowd) -> None:
        self.disturbances: list[Disturbance] = []
        self._service = service
        self._crowd = crowd
        self._in_flight: list[list[InFlight]] = []
        self._loads = 0

    async def disturb(self, what: str) -> Disturbance:
        """Cause one disturbance in the middle of a wave; returns when only sessions with a running message are left."""
        await self._service.serves("v3")
        wave = asyncio.create_task(self._crowd.wave())
        await asyncio.sleep(WAVE_S / 2)
        disturbance = Disturbance(what=what)
        self.disturbances.append(disturbance)
        self._in_flight.append(self._crowd.in_flight())
        happened = asyncio.Event()
        follower = asyncio.create_task(self._follow(disturbance, await self._service.moved(), happened))
        began = time.monotonic()
        await self._cause(what, disturbance)
        disturbance.took_ms = (time.monotonic() - began) * 1000
        happened.set()
        await follower
        await wave
        if disturbance.verified_ms is not None:
            await self._service.unlock()
        return disturbance

    async def _cause(self, what: str, disturbance: Disturbance) -> None:
        service = self._service
        match what.split():
            case ["set", percentage]:
                await service.set(int(percentage))
            case ["rollback"]:
                await self._roll_back(disturbance)
            case ["rollback", "frozen"]:
                pid = service.stop("v3")
                rolling_back = asyncio.create_task(self._roll_back(disturbance))
                await asyncio.sleep(FROZEN_S)
                service.go_on(pid)
                await rolling_back
            case ["kill", "v2"]:
                service.kill("v2")
            case ["kill", "v3"]:
                service.kill("v3")
            case ["hang", "v3"]:
                pid = service.stop("v3")
                await asyncio.sleep(HUNG_S)
                service.go_on(pid)
            case _:
                self._loads += 1
                await service.load_v3(f"slow_supervisor:{LOADS[self._loads % 2]}", f"build-{self._loads}")

    async def _roll_back(self, disturbance: Disturbance) -> None:
        began = time.time()
        done = await self._service.rollback()
        assert done.verified_at is not None
        disturbance.verified_ms = (done.verified_at - began) * 1000
        disturbance.new_stopped_ms, disturbance.existing_moved_ms = done.new_stopped_ms, done.existing_moved_ms
        sightings = [await self._service.sighting() for _ in range(3)]
        disturbance.contradictions = said_too_early(done.verified_at, sightings)
        if done.closed:
            disturbance.contradictions.append(f"{done.closed} closed, says the service")

    async def _follow(self, disturbance: Disturbance, before: int, happened: asyncio.Event) -> None:
        began = changed_at = time.monotonic()
        moved = 0
        while True:
            asked_at = time.monotonic()
            now = await self._service.moved() - before
            disturbance.moved = now
            if now and disturbance.first_ms is None:
                disturbance.first_ms = (time.monotonic() - began) * 1000
            if now - moved > BULK * len(self._crowd.clients):
                changed_at, moved = asked_at, now
                disturbance.last_ms = (time.monotonic() - began) * 1000
            if happened.is_set() and asked_at - max(began, changed_at) > CALM_S:
                return
            await asyncio.sleep(POLL_S)

    async def judge(self) -> Outcome:
        """Let the clients settle; returns the end of every message."""
        await self._crowd.settle()
        metrics = await self._service.metrics()
        for disturbance, in_flight in zip(self.disturbances, self._in_flight, strict=True):
            _count_ends(disturbance, in_flight)
        histories = [client.history for client in self._crowd.clients]
        during = [violation for history in histories for violation in history.violations]
        everything = [violation for history in histories for violation in history.end()]
        rules = by_rule(during)
        known = DOUBLED | REORDERED | GONE_BACK
        return Outcome(
            closed=sum(sum(history.drops.values()) for history in histories),
            lost=len(everything) - len(during),
            doubled=_sum(rules, DOUBLED),
            reordered=_sum(rules, REORDERED),
            documents_gone_back=_sum(rules, GONE_BACK),
            otherwise_wrong={rule: count for rule, count in rules.items() if rule not in known},
            examples=everything[:10],
            contradictions=[each for disturbance in self.disturbances for each in disturbance.contradictions],
            messages=sum(history.accepted for history in histories),
            moved=await self._service.moved(),
            waited=sum(disturbance.waited for disturbance in self.disturbances),
            run_again=sum(disturbance.run_again for disturbance in self.disturbances),
            interrupted=sum(history.errors.get("interrupted", 0) for history in histories),
            fenced=int(metrics["crossfade_stale_events_total",]),
        )


def _count_ends(disturbance: Disturbance, in_flight: Sequence[InFlight]) -> None:
    disturbance.in_flight = len(in_flight)
    for each in in_flight:
        end, path = each.result()
        if end == "error:interrupted":
            disturbance.interrupted += 1
        elif end == "agent_completed" and each.started:
            disturbance.waited += 1
        elif end == "agent_completed" and each.path and path != each.path:
            disturbance.run_again += 1


def _sum(rules: dict[str, int], chosen: frozenset[str]) -> int:
    return sum(count for rule, count in rules.items() if rule in chosen)
