"""Turns what the control loop knows into the declared views: the rollout, a preview, one user.

Reads only; must not change anything and knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.control.ports import CellPort
from app.fleet import aggregate, census
from app.fleet.bus import CellFigures
from app.fleet.census import Census
from app.fleet.members import Fleet
from app.metrics.counters import Counters, CountersMark
from app.pool.state import PathState
from app.settings import Settings
from rollout.assign import View, assign
from rollout.cohort import bucket
from rollout.errors import NotInPhase
from rollout.names import CANARY, PATHS, PathName
from rollout.now import Now
from rollout.permissions import allowed, check_load
from rollout.plan import Plan
from rollout.schedule import frozen_until
from rollout.state import Rollout
from rollout.views import (
    CellState,
    LockView,
    PathFigures,
    PlanView,
    RollbackView,
    RolloutView,
    SessionView,
    StageView,
    UserView,
    VerdictView,
)

FlagStatus = Literal["embedded", "in step", "pending", "changed outside", "unreachable"]
NO_STORE = "the store cannot be reached; only a rollback works without it"
NEVER_READ_S = 1e9
"""Age shown for a flag that was never read."""


@dataclass(frozen=True, slots=True)
class Known:
    """Everything a view is made of, at one moment; `ticks` in the ledger's seconds."""

    now: Now
    ticks: float
    state: Rollout
    settings: Settings
    cell: CellPort
    fleet: Fleet
    ledger: Counters
    mark: CountersMark
    view: View
    flag_age_s: float | None
    flag_status: FlagStatus
    store_down: bool
    verdicts: Sequence[VerdictView]
    rollback: RollbackView | None

    def own_state(self, path: PathName) -> PathState:
        """A path in this cell, without the users that another cell of this host counts."""
        state = self.cell.path_state(path)
        return replace(state, users=max(0, state.users - self.fleet.repeated(path)))


def rollout_view(known: Known) -> RolloutView:
    """`GET /api/rollout`."""
    state, settings, now = known.state, known.settings, known.now
    upcoming, when = _next(state, now)
    age_s = known.flag_age_s
    lock = state.lock
    return RolloutView(
        phase=state.phase,
        percentage=state.percentage,
        stage=state.stage,
        stage_started_at=None if state.baking_since_s is None else now.wall - state.baked(now),
        next_percentage=upcoming,
        next_at=when,
        plan=plan_view(state.plan),
        revision=state.revision,
        reason=state.reason,
        changed_by=state.changed_by,
        changed_at=state.changed_at,
        environment=settings.environment,
        flag=settings.flag,
        flag_age_s=NEVER_READ_S if age_s is None else age_s,
        unleash=known.flag_status,
        forced=settings.forced,
        lock=None
        if lock is None
        else LockView(generation=lock.generation, since=lock.since, by=lock.by, reason=lock.reason),
        last_rollback=known.rollback,
        paths=path_figures(known),
        verdicts=verdicts(known),
        cells=[_cell(known, name) for name in known.fleet.names()],
        moving=known.cell.moving() + sum(other.moving for other in known.fleet.others().values()),
        allowed=_allowed(known),
        undo_until=state.undo_until(now),
        frozen_until=frozen_until(state.plan.freezes, now.wall),
        now=now.wall,
    )


def plan_view(plan: Plan) -> PlanView:
    """A plan as pages see it: each stage with the percentage it really leads to."""
    stages = [
        StageView(percentage=plan.percentage_of(index), bake_s=stage.bake_s, advance=stage.advance)
        for index, stage in enumerate(plan.stages)
    ]
    return PlanView(name=plan.name, stages=stages)


def path_figures(known: Known) -> list[PathFigures]:
    """Both paths in all cells since the percentage last changed, at most of the last 15 minutes."""
    return [_figures(known, path) for path in PATHS]


def _figures(known: Known, path: PathName) -> PathFigures:
    states = {known.cell.name: known.own_state(path)}
    tallies = [known.ledger.tally(path, known.ticks, known.mark)]
    for name, other in known.fleet.others().items():
        states[name] = other.paths[path]
        tallies.append(other.tallies[path])
    return aggregate.path_figures(path, states, tallies, known.now.wall)


def users_on(known: Known, path: PathName) -> int:
    """Users with an open session on a path, in all cells."""
    return known.own_state(path).users + sum(other.paths[path].users for other in known.fleet.others().values())


def verdicts(known: Known) -> list[VerdictView]:
    """One verdict per guardrail, of all cells that have the same record in force: what another found is of another."""
    others = [other for other in known.fleet.others().values() if other.revision == known.state.revision]
    return aggregate.verdicts([known.verdicts, *(other.verdicts for other in others)])


def exports_state(known: Known, path: PathName) -> bool | None:
    """Whether the sessions of a path take their state along when they leave it; see `aggregate.exports_state`."""
    others = [other.paths[path] for other in known.fleet.others().values()]
    return aggregate.exports_state([known.cell.path_state(path), *others])


def own_figures(known: Known) -> CellFigures:
    """What this cell tells the others of itself, but for what they count users by."""
    return CellFigures(
        process=known.fleet.process,
        revision=known.state.revision,
        locked=known.state.lock is not None,
        percentage=known.state.percentage,
        phase=known.state.phase,
        flag_age_s=known.flag_age_s or 0.0,
        paths={path: known.own_state(path) for path in PATHS},
        tallies={path: known.ledger.tally(path, known.ticks, known.mark) for path in PATHS},
        slots=known.ledger.slots,
        moving=known.cell.moving(),
        verdicts=list(known.verdicts),
    )


def _next(state: Rollout, now: Now) -> tuple[int | None, float | None]:
    """The percentage that follows by the plan, and when its turn is at the earliest."""
    if state.phase == "idle" and state.start_at is not None:
        return state.plan.percentage_of(0), state.start_at
    if state.phase not in ("progressing", "paused"):
        return None, None
    index = state.plan.next_after(state.percentage)
    share = None if index is None else state.plan.percentage_of(index)
    if share is None and state.percentage < state.plan.stages[-1].percentage:
        share = state.plan.stages[-1].percentage  # what the last stage holds back follows when it is over
    return share, state.bake_ends_at(now)


def _cell(known: Known, name: str) -> CellState:
    if name == known.cell.name:
        return CellState(
            name=name,
            revision=known.state.revision,
            sessions=sum(known.cell.path_state(path).sessions for path in PATHS),
            silent_s=0.0,
            has_lock=known.state.lock is not None,
        )
    other = known.fleet.others().get(name)
    return CellState(
        name=name,
        revision=other.revision if other else 0,
        sessions=sum(state.sessions for state in other.paths.values()) if other else 0,
        silent_s=known.fleet.silent_s(name),
        has_lock=other is not None and other.locked,
    )


def _allowed(known: Known) -> dict[str, str]:
    verbs: dict[str, str] = {str(verb): words for verb, words in allowed(known.state, known.now).items()}
    try:
        check_load(known.state, users_on_v3=users_on(known, CANARY), live=False)
        verbs["load"] = ""
    except NotInPhase as refused:
        verbs["load"] = refused.allowed
    if known.store_down:
        verbs = {verb: words or ("" if verb == "rollback" else NO_STORE) for verb, words in verbs.items()}
    return verbs


def own_census(known: Known) -> Census:
    """The connected users of this cell, without those that another cell of this host counts."""
    return census.take(known.cell.buckets(), known.view, _group(known), known.fleet.counted_elsewhere())


def user_view(known: Known, user_id: str, sessions: list[SessionView] | None = None) -> UserView:
    """Where a user with these sessions (not given: those of this cell) is, or would be on connecting, and why."""
    number = bucket(_group(known), user_id)
    sessions = known.cell.sessions_of(user_id) if sessions is None else sessions
    decided = assign(user_id, known.view, number)
    return UserView(
        user_id=user_id,
        path=sessions[0].path if sessions else decided.path,
        reason=sessions[0].reason if sessions else decided.reason,
        bucket=number,
        percentage=known.state.percentage,
        pin=known.view.pins.get(user_id),
        sessions=sessions,
    )


def _group(known: Known) -> str:
    return known.view.flag.group_id if known.view.flag else known.settings.flag
