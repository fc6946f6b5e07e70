"""What can happen to a rollout, and what has to be done about it: the values that the machine takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from rollout.builds import BuildSource, LoadedBuild
from rollout.names import PathName, Role, Verdict
from rollout.plan import Plan
from rollout.state import Hold, Lock, Rollout


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it."""

    name: str
    role: Role


EVIDENCE: Final = Actor("evidence", "system")
SCHEDULE: Final = Actor("schedule", "system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command carries."""

    actor: Actor
    reason: str = ""
    revision: int | None = None
    """The revision it is based on; only a rollback goes without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Command):
    """Begin: at the plan's first stage, or at a percentage."""

    percentage: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPercentage(Command):
    """This percentage now, off the plan's clock."""

    percentage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(Command):
    """The next stage, or with `full` 100 % at once."""

    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Command):
    """Hold; the percentage stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Command):
    """Go on with the plan; the percentage stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(Command):
    """v2 for everyone and a lock. Always possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(Command):
    """Back to where a rollback made by a person left off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlock(Command):
    """Lift the lock; the rollout is idle at 0 %."""

    flag_percentage: int | None
    """What the flag reads right now; None: it could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyPlan(Command):
    """Another plan from here on; the percentage stays."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFound:
    """A lock that a cell made without the store, merged on its return."""

    lock: Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed, and this is what the guardrails say."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """Guardrail to verdict; one that is missing has no data."""
    flag_known: bool = True
    """False: the flag's server cannot be reached, so nothing may advance by itself."""
    same_build: bool = True
    """False: cells run different builds of v3, so nothing may advance by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A build was started and checked on every cell of a host: it is what its path is served from now on."""

    actor: Actor
    reason: str
    loaded: LoadedBuild
    previous_build: str | None
    settings: Mapping[str, BuildSource]
    """What each host's own setting says of the path, as far as they are heard; by host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSeen:
    """A host starts, and this is what its own setting says of a path."""

    path: PathName
    host: str
    setting: BuildSource


Event = (
    Start
    | SetPercentage
    | Promote
    | Pause
    | Resume
    | Rollback
    | Undo
    | Unlock
    | ApplyPlan
    | Load
    | SettingSeen
    | LockFound
    | Tick
)


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the view from the record and decide every session again."""

    rollback: bool = False
    """Cancel what still runs on v3 at the deadline, pace nothing, verify."""


@dataclass(frozen=True, slots=True)
class WriteFlag:
    """Bring the flag to this percentage; retried until it reads back."""

    percentage: int


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """The share of users changed: short epochs of evidence begin anew, the stable path's figures are frozen again."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A line for the append-only audit."""

    actor: Actor
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people; sent once for each thing that holds a stage, and for each rollback and completion."""

    about: Literal["rolled_back", "completed", "advanced", "started"] | Hold
    text: str


Effect = Publish | WriteFlag | NewEpoch | Audit | Notify


@dataclass(frozen=True, slots=True)
class Transition:
    """The record after an event, and what to do, in this order, once the record is saved."""

    state: Rollout
    effects: tuple[Effect, ...] = ()
