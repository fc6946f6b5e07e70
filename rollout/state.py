"""The record of a rollout: where it stands, what holds it, who changed it last. How it changes stands in machine.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from rollout.builds import LoadedBuild
from rollout.guardrails import BUILT_IN
from rollout.names import Phase, Verdict
from rollout.now import Now
from rollout.plan import DEFAULT_PLAN, Plan, Stage

UNDO_S: Final = 600
"""Seconds on the rollout's clock after a rollback in which it can be undone."""

Hold = Literal["", "person", "frozen", "flag", "builds"] | Verdict
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
    elapsed_s: float
    """When it happened, on the rollout's clock."""
    by: str
    by_person: bool
    """False: the evidence did it, and it cannot be undone, only unlocked."""
    reason: str
    place: Place


@dataclass(frozen=True, slots=True)
class Rollout:
    """The record of one canary. Names in `_at` are Unix seconds, names in `_s` seconds on its own clock."""

    id: int = 0
    """Counts the starts; 0: nothing was ever started."""
    phase: Phase = "idle"
    percentage: int = 0
    plan: Plan = DEFAULT_PLAN
    stage: int | None = None
    """Index into `plan.stages`; None: off the plan's clock (idle, set by hand, rolled back)."""
    elapsed_s: float = 0.0
    """The rollout's clock when the record was last saved: seconds in which a leader ran, counted once each."""
    baking_since_s: float | None = None
    """Since when the stage bakes without a break, on the rollout's clock; None: it does not bake now."""
    baked_s: float = 0.0
    """What the stage had baked before that."""
    revision: int = 0
    generation: int = 0
    """Counts the lifted locks (`unlock` and `undo`)."""
    lock: Lock | None = None
    last_rollback: LastRollback | None = None
    start_at: float | None = None
    """The plan's start that is still to come; None: nothing is scheduled (any more)."""
    builds: tuple[LoadedBuild, ...] = ()
    """What was loaded, by path; a path that is missing is served from each host's settings."""
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

    def baked(self, now: Now) -> float:
        """Seconds that the stage has baked. A cell that follows may be a little behind; then it is what had baked."""
        if self.baking_since_s is None:
            return self.baked_s
        return self.baked_s + max(0.0, now.elapsed_s - self.baking_since_s)

    def bake_left_s(self, now: Now) -> float | None:
        """Seconds until the stage's bake is over, negative afterwards; None while it does not bake."""
        stage = self.current_stage
        return None if stage is None or self.baking_since_s is None else stage.bake_s - self.baked(now)

    def bake_over(self, now: Now) -> bool:
        """Whether the stage's time is over; False off the plan's clock."""
        stage = self.current_stage
        return stage is not None and self.baked(now) >= stage.bake_s

    def bake_ends_at(self, now: Now) -> float | None:
        """When the bake is over if a leader runs all the while, in Unix seconds; None while the stage does not bake."""
        left_s = self.bake_left_s(now)
        return None if left_s is None else now.wall + left_s

    def undo_left_s(self, now: Now) -> float | None:
        """Seconds in which the rollback in force can still be undone, negative afterwards; None: it never can be."""
        last = self.last_rollback
        if self.phase != "rolled_back" or last is None or not last.by_person:
            return None
        return last.elapsed_s + UNDO_S - now.elapsed_s

    def undo_until(self, now: Now) -> float | None:
        """Until when it can be undone if a leader runs all the while, in Unix seconds; None: it cannot be."""
        left_s = self.undo_left_s(now)
        return None if left_s is None else now.wall + left_s

    def place(self, now: Now) -> Place:
        """Where the rollout stands now."""
        return Place(self.phase, self.percentage, self.stage, self.baked(now))
