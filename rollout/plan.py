"""The plan of a rollout: its stages, and what it says about holding back, ramping and freezing; and the two plans that
come with Crossfade. Its form in TOML stands in plan_reader.py and plan_writer.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rollout.guardrails import BUILT_IN
from rollout.names import Advance
from rollout.schedule import Freeze

MINUTE_S: Final = 60
DAY_S: Final = 24 * 60 * MINUTE_S
AUTOMATIC_HOLDBACK: Final = 5
"""Percent of the users kept on v2 at 100 % unless the plan says: without them there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Query:
    """A guardrail of one's own: a PromQL expression that fails above a limit."""

    name: str
    expression: str
    limit: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a plan."""

    percentage: int
    bake_s: float
    """On the rollout's own clock, which stands still while no leader runs."""
    guardrails: tuple[str, ...] = BUILT_IN
    """Names; none at all means that time alone decides."""
    advance: Advance = "person"


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages of rising percentage, and how they are walked through."""

    name: str
    stages: tuple[Stage, ...]
    new_connections_only: bool = False
    """True: a ramp leaves open sessions where they are. A rollback never does."""
    ramp_per_second: int = 0
    """Sessions that a ramp hands over in a second; 0: all at once. A rollback is never paced."""
    holdback: int | None = None
    """Percent kept on v2 while the last stage bakes at 100 %; None: 5 where evidence decides, 0 where a person does."""
    start_at: float | None = None
    """Unix seconds at which the rollout starts by itself; None: a person starts it."""
    freezes: tuple[Freeze, ...] = ()
    queries: tuple[Query, ...] = ()

    def percentage_of(self, index: int) -> int:
        """What stage `index` puts on v3: its percentage, less the holdback if it is the last and goes to 100 %."""
        stage = self.stages[index]
        if index != len(self.stages) - 1 or stage.percentage != 100:
            return stage.percentage
        if self.holdback is not None:
            return 100 - self.holdback
        return 100 - AUTOMATIC_HOLDBACK if stage.advance == "automatic" else 100

    def next_after(self, percentage: int) -> int | None:
        """Index of the first stage above a percentage; None when there is none."""
        return next((index for index in range(len(self.stages)) if self.percentage_of(index) > percentage), None)

    def stage_at(self, percentage: int) -> int:
        """Index of the stage whose clock a percentage belongs to: the last one not above it, or the first."""
        reached = [index for index in range(len(self.stages)) if self.percentage_of(index) <= percentage]
        return reached[-1] if reached else 0


# The original's plan, the same in staging: a recorded baseline, a tenth, everybody. A person decides each step.
DEFAULT_PLAN: Final = Plan(
    "default",
    (
        Stage(0, 7 * DAY_S, guardrails=()),
        Stage(10, 7 * DAY_S),
        Stage(100, 14 * DAY_S),
    ),
)
QUICK_PLAN: Final = Plan(
    "quick",
    (
        Stage(0, 1 * MINUTE_S, guardrails=()),
        Stage(10, 3 * MINUTE_S),
        Stage(100, 5 * MINUTE_S),
    ),
)
SEEDS: Final = {plan.name: plan for plan in (DEFAULT_PLAN, QUICK_PLAN)}
