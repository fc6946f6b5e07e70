"""Why a command is refused, one tree; every text says to a person what was wrong and what is allowed.

    RolloutError
    ├── Refused                 a command that cannot be done as asked
    │   ├── NotAllowed          the role does not suffice                          (403)
    │   ├── NotInPhase          the verb does not fit the phase                    (409)
    │   │   └── FlagNotZero     unlock before the flag was seen at 0 %             (409)
    │   ├── NoWayBack           v2 cannot restore the state of v3's sessions       (409)
    │   ├── BuildsDiffer        cells run different builds of v3                   (409)
    │   ├── TooManyPins             as many users are pinned as may be                 (409)
    │   ├── StaleRevision       somebody else changed the rollout meanwhile        (412)
    │   ├── BadPercentage       not a whole number 0..100                          (422)
    │   ├── ReasonMissing       this verb needs a reason                           (422)
    │   └── RevisionMissing     the command does not say what it is based on       (428)
    ├── InvalidPlan             a plan's text, with the line and field of each mistake
    └── UnreadableRecord        a stored record that this version cannot read

The numbers say what the API makes of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.formats import timestamp
from rollout.names import Phase


class RolloutError(Exception):
    """Root of the tree; its text may be shown to an operator."""


class Refused(RolloutError):
    """A command that cannot be done as asked; nothing was changed."""


class NotAllowed(Refused):
    """The actor's role does not suffice for this command."""


class NotInPhase(Refused):
    """The verb does not fit the phase the rollout is in."""

    def __init__(self, verb: str, phase: Phase, allowed: str) -> None:
        self.verb, self.phase, self.allowed = verb, phase, allowed
        super().__init__(f"{verb} is not possible while the rollout is {phase.replace('_', ' ')}: {allowed}")


class FlagNotZero(NotInPhase):
    """`unlock` before the flag was seen at 0 %: unlocking now could put users back on v3."""

    def __init__(self, percentage: int | None) -> None:
        self.percentage = percentage
        seen = "could not be read" if percentage is None else f"still reads {percentage} %"
        super().__init__("unlock", "rolled_back", f"the flag {seen}; it must read 0 % first")


class NoWayBack(Refused):
    """Users would move to a path whose state v2 cannot restore: a rollback would lose it."""


class BuildsDiffer(Refused):
    """Cells run different builds of v3, so nobody is moved there: names which run which."""


class TooManyPins(Refused):
    """As many users are pinned as may be: every cell has all pins in its memory."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most:,} users are pinned, and no more can be: unpin others first, or use a percentage")


class StaleRevision(Refused):
    """The command was based on a revision that is no longer the current one."""

    def __init__(self, expected: int, actual: int, who: str, what: str, at: float) -> None:
        """`who` did `what` `at` this time (Unix seconds) and made the revision `actual`; nobody: there is none yet."""
        self.expected, self.actual, self.who, self.what, self.at = expected, actual, who, what, at
        happened = f"changed meanwhile: {who} did {what} at {timestamp(at)}" if who else "was never changed"
        super().__init__(
            f"the rollout {happened} (revision {actual}, the command is based on {expected}); "
            "look at it again, then repeat the command"
        )


class RevisionMissing(Refused):
    """Every command but a rollback must say on which revision it is based."""

    def __init__(self, actual: int) -> None:
        self.actual = actual
        super().__init__(f"say on which revision this is based (now {actual}); only a rollback needs none")


class BadPercentage(Refused):
    """A percentage that is not a whole number from 0 to 100."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(f"{value!r} is not a percentage: a whole number from 0 to 100 is allowed")


class ReasonMissing(Refused):
    """The verb needs a reason, for whoever reads the audit later."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"{verb} needs a reason: say in a few words why")


@dataclass(frozen=True, slots=True)
class PlanError:
    """One mistake in a plan: where it stands and what is allowed there."""

    line: int
    """Counted from 1; 0 when the plan did not come from a text."""
    field: str
    """Dotted, with stages counted from 1: `stage[2].percentage`; empty when the text is no TOML."""
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else "plan"
        return f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"


class InvalidPlan(RolloutError):
    """A plan that cannot be used; `errors` names every mistake, not only the first."""

    def __init__(self, errors: Sequence[PlanError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class UnreadableRecord(RolloutError):
    """A stored record of an unknown version, or one that is damaged."""
