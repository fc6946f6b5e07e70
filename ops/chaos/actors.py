"""The actors of a chaos run: clients with random behaviour, and an operator with bad luck, both drawn from seeds.

They record what they did; others judge it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from app.loadtest.history import Finished
from ops.chaos.client import ChaosClient
from ops.chaos.service import ChaosService
from ops.chaos.verification import Sighting, said_too_early

Act = Callable[[], Awaitable[None]]

RETRIES = 3
QUIET_S = 60.0
SIGHTINGS = 5
BUILDS = ("create_v3", "create_v3_again")


class Actor:
    """One client that acts at random: everything the protocol allows, messages in flight, and sockets that die."""

    def __init__(self, client: ChaosClient, seed: str, tally: Counter[str]) -> None:
        self.client = client
        self._random = random.Random(seed)
        self._tally = tally
        self._retries: Counter[str] = Counter()
        self._content: dict[str, str] = {}
        client.on_finished = self._finished

    async def live(self, until: asyncio.Event) -> None:
        """Act until it is stopped, then wait for all answers, ask for the history, and close."""
        await self.client.connect()
        acts = [self._say, self._say, self._burst, self._twice, self._stop, self._history, self._come_back, self._rest]
        while not until.is_set():
            act = self._random.choice(acts) if self._random.random() > 0.02 else self._start_anew
            self._tally[act.__name__.lstrip("_")] += 1
            await act()
            await asyncio.sleep(self._random.choice((0, 0.02, 0.2, 1.0)))
        await self.client.quiet(QUIET_S)
        self.client.send("get_thread_history", {})
        await self.client.quiet(QUIET_S)
        await self.client.close()

    async def _say(self) -> None:
        self._speak()

    async def _burst(self) -> None:
        for _ in range(self._random.randint(2, 5)):
            self._speak()

    async def _twice(self) -> None:
        message_id = self._speak()
        self.client.say(self._content[message_id], message_id)

    async def _stop(self) -> None:
        named = self._random.random() < 0.5 and bool(self._content)
        target = {"message_id": self._random.choice(list(self._content)[-3:])} if named else {}
        self.client.control("stop_agent", {**target})
        self.client.control("ping", {})

    async def _history(self) -> None:
        self.client.send("get_thread_history", {})

    async def _rest(self) -> None:
        await self.client.quiet(QUIET_S)

    async def _come_back(self) -> None:
        await self._leave()
        await asyncio.sleep(self._random.choice((0, 0.05, 0.5)))
        await self.client.connect(resume=True)
        await self._retry_interrupted()

    async def _start_anew(self) -> None:
        await self._leave()
        await self.client.connect()

    async def _leave(self) -> None:
        if self._random.random() < 0.5:
            await self.client.vanish()
        else:
            await self.client.close()

    def _speak(self) -> str:
        milliseconds = self._random.choice((0, 0, 0, 20, 100, 400, self._random.randint(500, 1500)))
        content = f"sleep={milliseconds} think={self._random.randint(0, 3)} say={self._random.getrandbits(32)}"
        message_id = self.client.say(content)
        self._content[message_id] = content
        return message_id

    def _finished(self, done: Finished) -> None:
        self._tally[done.code or done.type] += 1
        if done.code == "interrupted" and self._retries[done.message_id] < RETRIES:
            self._retries[done.message_id] += 1
            asyncio.get_running_loop().call_soon(self._retry, done.message_id)

    def _retry(self, message_id: str) -> None:
        if message_id in self._content:
            self.client.say(self._content[message_id], message_id)

    async def _retry_interrupted(self) -> None:
        """After a reconnect, resend every message without an answer; the service refuses what it knows already."""
        for message_id in self.client.history.unanswered():
            self._retry(message_id)


class Operator:
    """Gives changes, rollbacks, kills, stops and new builds, one after the other, in an order drawn from a seed."""

    def __init__(self, service: ChaosService, seed: str, tally: Counter[str]) -> None:
        self._service = service
        self._random = random.Random(seed)
        self._tally = tally
        self._loads = 0
        self._deck: list[Act] = []
        self.canary_answers: list[float] = []
        """When clients received an answer of v3, in Unix seconds."""
        self.lies: list[str] = []
        """What contradicted a `verified_at`."""

    def note_answer(self, path: str) -> None:
        """A client received an answer."""
        if path == "v3":
            self.canary_answers.append(time.time())

    async def work(self, rounds: int) -> None:
        """Do everything that can go wrong, this many times; at the end, unlock the service."""
        for _ in range(rounds):
            self._deck = self._shuffled()
            while self._deck:
                await self.act_once()
                await asyncio.sleep(self._random.choice((0, 0.1, 0.5)))
        await self._service.unlock()

    async def act_once(self) -> str:
        """Do the next thing; each is done before any comes again. Returns its name."""
        if not self._deck:
            self._deck = self._shuffled()
        act = self._deck.pop(0)
        name = act.__name__.strip("_")
        self._tally[f"operator: {name}"] += 1
        await act()
        return name

    def _shuffled(self) -> list[Act]:
        """All actions that can go wrong, with enough users on v3 for it to matter."""
        deck: list[Act] = [
            *(self._all, self._all, self._all, self._all, self._some, self._nobody),
            *(self.roll_back, self.roll_back, self._kill_canary, self._kill_stable, self._stop_canary, self._load),
        ]
        self._random.shuffle(deck)
        return deck

    async def roll_back(self) -> None:
        """Roll back, look whether `verified` was true, and unlock."""
        began = time.time()
        done = await self._service.rollback()
        sightings: list[Sighting] = []
        for _ in range(SIGHTINGS):
            sightings.append(await self._service.sighting())
            await asyncio.sleep(0.05)
        ended = time.time()
        answers = [at for at in self.canary_answers if began <= at <= ended]
        self.lies += said_too_early(done.verified_at or 0.0, sightings, answers)
        if done.closed:
            self.lies.append(f"the rollback says that it closed {done.closed} sockets")
        await self._service.unlock()

    async def _all(self) -> None:
        await self._service.set(100)

    async def _some(self) -> None:
        await self._service.set(self._random.randint(1, 99))

    async def _nobody(self) -> None:
        await self._service.set(0)

    async def _kill_canary(self) -> None:
        self._service.kill("v3")

    async def _kill_stable(self) -> None:
        self._service.kill("v2")

    async def _stop_canary(self) -> None:
        """If short, nobody notices; if long, the worker counts as hung."""
        pid = self._service.stop("v3")
        await asyncio.sleep(self._random.choice((0.3, 2.0)))
        self._service.go_on(pid)

    async def _load(self) -> None:
        self._loads += 1
        await self._service.serves("v3")
        await self._service.load_v3(f"slow_supervisor:{BUILDS[self._loads % 2]}", f"build-{self._loads}")
