"""The record of a rollout: where it stands, what holds it, who changed it last.

Knows values and what follows from them alone; must not know how they change (machine.py) or where they are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from rollout.guardrails import BUILT_IN
from rollout.names import Phase, Verdict
from rollout.plan import DEFAULT_PLAN, Plan, Stage

UNDO_S: Final = 600
"""Seconds after a rollback in which it can be undone."""

Hold = Literal["", "person", "frozen", "flag"] | Verdict
"""Why a stage whose bake is over does not advance: it waits for a person, a freeze window ends, the flag's state is not
known, or a verdict other than `pass`. Empty: nothing holds."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A rollback in force: everyone is on v2 and nothing advances."""

    rollout: int
    generation: int
    """The record's generation when the lock was made; a lock of an older one was lifted meanwhile."""
    since: float
    by: str
    by_person: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rollout stood when it was rolled back, for `undo`."""

    phase: Phase
    percentage: int
    stage: int | None
    baked_s: float


@dataclass(frozen=True, slots=True)
class LastRollback:
    """The latest rollback of this record; what it did to sessions stands in its receipt, not here."""

    id: str
    at: float
    by: str
    by_person: bool
    """False: the evidence did it, and it cannot be undone, only unlocked."""
    reason: str
    place: Place


@dataclass(frozen=True, slots=True)
class Rollout:
    """The record of one canary. All times are Unix seconds."""

    id: int = 0
    """Counts the starts; 0: nothing was ever started."""
    phase: Phase = "idle"
    percentage: int = 0
    plan: Plan = DEFAULT_PLAN
    stage: int | None = None
    """Index into `plan.stages`; None: off the plan's clock (idle, set by hand, rolled back)."""
    stage_started_at: float | None = None
    """When the stage would have begun, had it never been paused; None while its clock stands still."""
    baked_s: float = 0.0
    """What the stage had baked when its clock was stopped."""
    revision: int = 0
    generation: int = 0
    """Counts the lifted locks (`unlock` and `undo`)."""
    lock: Lock | None = None
    last_rollback: LastRollback | None = None
    start_at: float | None = None
    """The plan's start that is still to come; None: nothing is scheduled (any more)."""
    holding: Hold = ""
    reason: str = ""
    changed_by: str = ""
    changed_what: str = ""
    changed_at: float = 0.0

    @property
    def current_stage(self) -> Stage | None:
        """The stage whose clock counts, or None."""
        return None if self.stage is None else self.plan.stages[self.stage]

    @property
    def guardrails(self) -> tuple[str, ...]:
        """Names of the guardrails that watch now: the stage's, or off the plan's clock all there are."""
        stage = self.current_stage
        return stage.guardrails if stage else (*BUILT_IN, *(query.name for query in self.plan.queries))

    @property
    def in_last_stage(self) -> bool:
        """Whether the plan has no stage to go on to."""
        return self.stage == len(self.plan.stages) - 1 and self.plan.next_after(self.percentage) is None

    @property
    def undo_until(self) -> float | None:
        """Until when the rollback in force can be undone; None: it cannot."""
        last = self.last_rollback
        return last.at + UNDO_S if self.phase == "rolled_back" and last and last.by_person else None

    @property
    def bake_until(self) -> float | None:
        """When the stage's bake is over; None while its clock stands still."""
        stage = self.current_stage
        return self.stage_started_at + stage.bake_s if stage and self.stage_started_at is not None else None

    @property
    def next_percentage(self) -> int | None:
        """What the next `promote` puts on v3; None when there is nothing to promote."""
        if self.phase not in ("progressing", "paused"):
            return None
        above = self.plan.next_after(self.percentage)
        return max(
            self.percentage, self.plan.stages[-1].percentage if above is None else self.plan.percentage_of(above)
        )

    def baked(self, now: float) -> float:
        """Seconds that the stage has baked; a clock that went backwards never makes it negative."""
        return self.baked_s if self.stage_started_at is None else max(0.0, now - self.stage_started_at)

    def bake_over(self, now: float) -> bool:
        """Whether the stage's time is over; False off the plan's clock."""
        stage = self.current_stage
        return stage is not None and self.baked(now) >= stage.bake_s

    def place(self, now: float) -> Place:
        """Where the rollout stands now."""
        return Place(self.phase, self.percentage, self.stage, self.baked(now))
