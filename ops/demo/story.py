"""The steps of the demo in order, each with one line and the figures at that moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ops.demo.claims import Seen
from ops.demo.operating import LOOK_S, Operator, canary
from ops.demo.processes import Crowd, DemoError
from ops.demo.script import PERCENTAGES, Script
from rollout.views import RollbackView, RolloutView

MOVED_S = 10.0
FAIL_S = 30.0
BAD, GOOD = "3.1", "3.2"


class Story:
    """One run with a running service and running clients. `say` gets one line after the other."""

    def __init__(self, script: Script, operator: Operator, crowd: Crowd, say: Callable[[str], None]) -> None:
        self._script = script
        self._operator = operator
        self._crowd = crowd
        self._say = say
        self._deaths = 0
        self._interrupted = 0
        self._dead = False

    async def tell(self) -> Seen:
        """Do all steps. Raises `DemoError` if a step is not seen in time."""
        script = self._script
        await self._crowd.all_open(script.clients)
        self._say(f"{script.clients} of {script.clients} WebSocket clients connected and talking, all of them on v2")
        await self._hold(script.warm_s)
        if script.fault == "crash":
            await self._step("start", 10)
            await self._hold(script.fault_after_s)
            await self._fail()
            await self._hold(script.calm_s)
            await self._repair()
        for percentage in PERCENTAGES:
            await self._step("start" if percentage == PERCENTAGES[0] else "set", percentage)
            if percentage != 100:
                await self._hold(script.hold_s)
        return await self._end()

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _step(self, verb: str, percentage: int) -> None:
        full = percentage == 100
        began = time.monotonic()
        if verb == "start":
            await self._operator.command("start", "the demo", percentage=percentage)
        elif full:
            await self._operator.command("promote", "the demo", full=True)
        else:
            await self._operator.command("percentage", "the demo", percentage=percentage)
        view = await self._operator.until(
            f"sessions on v3 at {percentage} %",
            lambda view: view.moving == 0 and view.percentage == percentage and canary(view).sessions > 0,
            MOVED_S,
        )
        words = "promote --full" if full else f"{verb} {percentage}"
        figures = canary(view)
        self._say(
            f"crossfade {words}: {figures.sessions} of {self._script.clients} sessions are on v3 "
            f"(build {figures.build}), moved in {_took(began)}; {self._sockets()}"
        )

    async def _fail(self) -> None:
        loaded = await self._operator.load(BAD, "the demo's bad release", live=True)
        bad_since = time.monotonic()
        self._say(
            f"crossfade load v3 {BAD} --live: a bad release serves v3 now; every check before the swap passed; "
            f"{loaded.sessions_moved} sessions handed over in {loaded.seconds:.2f} s"
        )
        last = bad_since
        async for view in self._operator.watch(FAIL_S):
            if view.phase == "rolled_back" and view.last_rollback is not None:
                await self._tell_rollback(view.last_rollback, last, bad_since)
                return
            last = await self._follow(view, last)
        raise DemoError(f"v3 was not rolled back within {FAIL_S:g} s; {self._deaths} deaths of its worker were seen")

    async def _follow(self, view: RolloutView, last: float) -> float:
        """Report a death or restart of v3's worker, if this look shows one; returns when the last death was seen."""
        figures, now, was_dead, deaths = canary(view), time.monotonic(), self._dead, self._deaths
        self._count(view)
        if self._deaths == deaths:
            if was_dead and not self._dead:
                self._say(f"v3's worker is back {now - last:.2f} s later, its sessions with it: still the bad release")
            return last
        lost = await self._lost()
        since = "after that" if deaths else "after the load"
        on_v2 = self._script.clients - figures.sessions
        self._say(
            f"death {self._deaths} of v3's worker, {now - last:.2f} s {since} "
            f"({figures.unavailable_reason or 'restarted already'}): {on_v2} of {self._script.clients} sessions are on "
            f"v2; messages interrupted: {lost}, those that ran in it; {self._sockets()}"
        )
        return now

    async def _tell_rollback(self, seen: RollbackView, last: float, bad_since: float) -> None:
        detected = time.monotonic()
        self._say(
            f"rolled back by {seen.by}, no person did anything: {seen.reason}; "
            f"{detected - last:.2f} s after the last death, {detected - bad_since:.2f} s after the bad release came"
        )
        view = await self._operator.until("the rollback verified", _verified, MOVED_S)
        done = view.last_rollback
        assert done is not None  # a verified one
        # Messages finish where they run, if they can, so the bad release may crash once more while its sessions leave.
        lost = await self._lost()
        late = f"; it died once more meanwhile, which interrupted {lost}" if lost else ""
        already = " (v3's had left it when it died)" if done.sessions_to_move == 0 else ""
        self._say(
            f"verified: new stopped in {_ms(done.new_stopped_ms)}, existing moved in {_ms(done.existing_moved_ms)}, "
            f"{done.sessions_moved} of {done.sessions_to_move} sessions moved{already}, {done.closed} closed, "
            f"{done.interrupted} interrupted{late}; receipt: /rollbacks/{done.id}"
        )

    async def _repair(self) -> None:
        await self._operator.command("unlock", f"{BAD} was bad, {GOOD} has the fix")
        loaded = await self._operator.load(GOOD, "the fix", live=False)
        self._say(
            f"crossfade unlock, crossfade load v3 {GOOD}: build {loaded.build} has the fix; "
            f"everybody is still on v2; {self._sockets()}"
        )

    async def _end(self) -> Seen:
        """Hold 100 % until the clients have sent everything."""
        if self._script.plays_out:
            self._say("100 % is held until the clients are done")
        else:
            self._crowd.stop()
        while not self._crowd.over:
            self._count(await self._operator.look())
            await asyncio.sleep(LOOK_S)
        last = (await self._operator.look()).last_rollback
        await self._lost()
        return Seen(last, self._deaths, self._interrupted + (last.interrupted if last else 0))

    async def _lost(self) -> int:
        """Messages that were lost with v3's workers since the last call."""
        before, self._interrupted = self._interrupted, await self._operator.interrupted_on_v3()
        return self._interrupted - before

    async def _hold(self, seconds: float) -> None:
        """Let time pass and look meanwhile. Raises `DemoError` if the clients end too early for the next steps."""
        async for view in self._operator.watch(seconds):
            self._count(view)
        if self._crowd.over:
            raise DemoError("the clients were done before the story was: this machine is too slow for it")

    def _count(self, view: RolloutView) -> None:
        """Number of deaths by the service's count, so that none is missed between two looks."""
        figures = canary(view)
        self._dead = not figures.available
        self._deaths = figures.restarts + self._dead

    def _sockets(self) -> str:
        return f"{self._crowd.drops} sockets closed"


def _verified(view: RolloutView) -> bool:
    return view.last_rollback is not None and view.last_rollback.verified_at is not None


def _ms(value: float | None) -> str:
    return "no data" if value is None else f"{value:.1f} ms"


def _took(began: float) -> str:
    return f"{time.monotonic() - began:.2f} s"
