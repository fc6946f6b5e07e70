"""Which path serves a user, and why: one pure function over one frozen view of what a cell knows.

Called for every session on every change, so it makes no object and computes no hash when the caller kept the user's
bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rollout.cohort import bucket as bucket_of
from rollout.names import CANARY, STABLE, PathName, Reason


@dataclass(frozen=True, slots=True)
class Assignment:
    """The path that serves a user and the step of the decision that said so."""

    path: PathName
    reason: Reason


@dataclass(frozen=True, slots=True)
class FlagRule:
    """What the Unleash flag says, reduced to what a decision needs."""

    group_id: str
    percentage: int
    """0..100, whole; the cohort's share when only the bucket decides."""
    bucket_only: bool
    """True for an enabled flexibleRollout sticky on the user id, without constraints, segments or variants."""
    enabled: bool
    evaluate: Callable[[str], bool] | None = field(default=None, compare=False)
    """The engine's answer for a user id; asked only when the bucket alone does not decide."""
    key: Hashable = ()
    """Changes exactly when strategy, groupId, stickiness or constraints change: a bucket kept under it stays right."""


@dataclass(frozen=True, slots=True)
class View:
    """What one cell knows at one moment; the next change makes a new one."""

    forced: bool | None = None
    """`USE_WEBSOCKET_SUPERVISOR_V3` of this cell's environment; None: unset."""
    locked: bool = False
    """A rollback is in force."""
    v3_available: bool = False
    """This cell has a v3 worker that answers."""
    pins: Mapping[str, PathName] = field(default_factory=dict)
    """User id to path, set by a person."""
    flag: FlagRule | None = None
    """None: there is no flag, or nothing is known about it."""
    v3_withheld: bool = False
    """This cell has lost touch with the others, and cannot know whether they have rolled back."""


# Made once: a sweep over 10,000 sessions then allocates nothing.
_FORCED_STABLE: Final = Assignment(STABLE, "environment")
_FORCED_CANARY: Final = Assignment(CANARY, "environment")
_ROLLED_BACK: Final = Assignment(STABLE, "rolled_back")
_UNAVAILABLE: Final = Assignment(STABLE, "v3_unavailable")
_PINNED: Final[Mapping[PathName, Assignment]] = {
    STABLE: Assignment(STABLE, "pinned"),
    CANARY: Assignment(CANARY, "pinned"),
}
_FLAG_STABLE: Final = Assignment(STABLE, "flag")
_FLAG_CANARY: Final = Assignment(CANARY, "flag")


def assign(user: str | None, view: View, bucket: int | None = None) -> Assignment:
    """The path of a user; the first step that matches wins, and doubt ends on the stable path, never at random.

    `bucket` is the user's bucket when the caller kept it under `view.flag.key`; without it, it is computed.
    A user without an id can be forced by the environment, but is never pinned and never in a cohort.
    """
    if view.forced is False:
        return _FORCED_STABLE
    if view.locked:
        return _ROLLED_BACK
    if not view.v3_available or view.v3_withheld:
        return _UNAVAILABLE
    if user and (pin := view.pins.get(user)) is not None:
        return _PINNED[pin]
    if view.forced:
        return _FORCED_CANARY
    flag = view.flag
    if flag is None or not user or not flag.enabled:
        return _FLAG_STABLE
    if flag.bucket_only:
        if bucket is None:
            bucket = bucket_of(flag.group_id, user)
        return _FLAG_CANARY if bucket <= flag.percentage else _FLAG_STABLE
    if flag.evaluate is None:
        return _FLAG_STABLE
    return _FLAG_CANARY if flag.evaluate(user) else _FLAG_STABLE
