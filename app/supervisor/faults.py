"""Faults for drills, injected before a message reaches its supervisor: errors, latency, hangs, leaks, crashes.

They are off unless set, apply to one path, and can be replaced while sessions are open.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from app.errors import SettingError
from app.message_types import Request
from app.supervisor.errors import InjectedError

VARIABLE = "CROSSFADE_FAULTS"
PATHS = ("v2", "v3")
CRASH_EXIT_STATUS = 86
SHOWN_CHARACTERS = 200
"""Of a wrong value."""

Rate = Annotated[float, Meta(ge=0, le=1)]
Chance: TypeAlias = bool | Rate
"""How often a fault occurs: `true` is always, a number is a share of messages, 0..1."""
Trigger = Annotated[str, Meta(min_length=1)]


class FaultPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """The faults of one path. A trigger (`…_on`) limits a fault and its rate to messages that contain the text."""

    error_rate: Rate = 0.0
    error_on: Trigger | None = None
    latency_ms: Annotated[float, Meta(ge=0)] = 0.0
    latency_rate: Rate = 1.0
    latency_on: Trigger | None = None
    hang: Chance = False
    """The message never ends; the worker serves other sessions."""
    hang_on: Trigger | None = None
    busy_loop: Chance = False
    """The whole worker spins and answers nothing for `busy_loop_ms` (0: until it is killed)."""
    busy_loop_ms: Annotated[float, Meta(ge=0)] = 0.0
    busy_loop_on: Trigger | None = None
    leak_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 0
    leak_rate: Rate = 1.0
    leak_on: Trigger | None = None
    crash: Chance = False
    """The worker's process ends at once."""
    crash_on: Trigger | None = None
    seed: int | None = None
    """Makes the random choices repeatable."""


NO_FAULTS = FaultPlan()
KEYS = FaultPlan.__struct_fields__


def plan_of(faults: Mapping[str, object], where: str = VARIABLE) -> FaultPlan:
    """The plan in a mapping of keys to values. Raises `SettingError`, which names key, value and what is allowed."""
    for key in faults:
        if key not in KEYS:
            raise SettingError(f"{where}: {key[:SHOWN_CHARACTERS]!r} is not a fault; allowed: {', '.join(KEYS)}")
    for key, value in faults.items():
        try:
            msgspec.convert({key: value}, FaultPlan)
        except msgspec.ValidationError as error:
            raise SettingError(
                f"{where}: {key}={repr(value)[:SHOWN_CHARACTERS]}: {error}; see the README, Faults"
            ) from None
    return msgspec.convert(dict(faults), FaultPlan)


def plans_of_setting(text: str) -> dict[str, FaultPlan]:
    """The plans by path in the value of `CROSSFADE_FAULTS`; empty text: none. Raises `SettingError`."""
    if not text.strip():
        return {}
    try:
        by_path = msgspec.json.decode(text, type=dict[str, dict[str, object]])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SettingError(
            f"{VARIABLE}={text[:SHOWN_CHARACTERS]!r}: {error}; allowed: JSON by path, such as "
            '{"v3": {"error_rate": 0.1}}'
        ) from None
    for path in by_path:
        if path not in PATHS:
            raise SettingError(f"{VARIABLE}: {path[:SHOWN_CHARACTERS]!r} is not a path; allowed: {', '.join(PATHS)}")
    return {path: plan_of(faults, f"{VARIABLE}, {path}") for path, faults in by_path.items()}


def end_process() -> None:
    """End this process like a crash: without clean-up, and with nothing flushed."""
    os._exit(CRASH_EXIT_STATUS)


class Faults:
    """The current faults of a path, shared by all its sessions; contains nothing of a user."""

    def __init__(self, plan: FaultPlan = NO_FAULTS, *, crash: Callable[[], object] = end_process) -> None:
        self._crash = crash
        self._leaked: list[bytes] = []
        self.replace(plan)

    def replace(self, plan: FaultPlan) -> None:
        """Use these faults from the next message on, and free what has leaked. `NO_FAULTS` ends a drill."""
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._leaked.clear()
        self.active = _without_seed(plan) != NO_FAULTS

    async def before(self, request: Request) -> None:
        """Apply the faults to one message. Raises `InjectedError`; may never return."""
        plan, content = self._plan, request.content
        if plan.leak_bytes and self._occurs(plan.leak_rate, plan.leak_on, content):
            # Not zeros, because pages of zeros that were never written are not resident.
            self._leaked.append(b"\xa5" * plan.leak_bytes)
        if plan.latency_ms and self._occurs(plan.latency_rate, plan.latency_on, content):
            await asyncio.sleep(plan.latency_ms / 1000)
        if self._occurs(plan.crash, plan.crash_on, content):
            self._crash()
        if self._occurs(plan.busy_loop, plan.busy_loop_on, content):
            _spin(plan.busy_loop_ms)
        if self._occurs(plan.hang, plan.hang_on, content):
            await asyncio.get_running_loop().create_future()
        if self._occurs(plan.error_rate, plan.error_on, content):
            raise InjectedError("an error injected by a drill")

    def _occurs(self, chance: float | bool, trigger: str | None, content: str) -> bool:
        if trigger is not None:
            if trigger not in content:
                return False
            # A trigger alone means always; with a rate, that share of the messages with the trigger.
            chance = chance or 1.0
        return chance > 0 and self._random.random() < chance


def _without_seed(plan: FaultPlan) -> FaultPlan:
    return msgspec.structs.replace(plan, seed=None)


def _spin(milliseconds: float) -> None:
    """Keep the processor and the event loop busy; 0: for ever."""
    end = time.monotonic() + milliseconds / 1000 if milliseconds else float("inf")
    while time.monotonic() < end:
        pass
