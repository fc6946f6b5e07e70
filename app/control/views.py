"""Turns what the control plane knows into the declared views: the rollout, a preview, one user. It only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.control.ports import CellPort
from app.fleet import aggregate, census
from app.fleet.bus import CellFigures
from app.fleet.census import Census
from app.fleet.members import Fleet, host_of
from app.metrics.counters import Counters, CountersMark
from app.pool.source import source_of
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
from rollout.state import Lock, Rollout
from rollout.views import (
    CellState,
    Durability,
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
class Snapshot:
    """Everything a view is made of, at one moment; `ticks` in monotonic seconds."""

    now: Now
    ticks: float
    record: Rollout
    settings: Settings
    cell: CellPort
    fleet: Fleet
    counters: Counters
    mark: CountersMark
    view: View
    flag_age_s: float | None
    flag_status: FlagStatus
    store_down: bool
    verdicts: Sequence[VerdictView]
    rollback: RollbackView | None
    durability: Durability | None
    """Of the lock in force; None: there is none."""

    def own_state(self, path: PathName) -> PathState:
        """A path in this cell, without the users that another cell of this host counts."""
        state = self.cell.path_state(path)
        return replace(state, users=max(0, state.users - self.fleet.repeated(path)))


def rollout_view(snapshot: Snapshot) -> RolloutView:
    """`GET /api/rollout`."""
    state, settings, now = snapshot.record, snapshot.settings, snapshot.now
    upcoming, when = _next(state, now)
    age_s = snapshot.flag_age_s
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
        unleash=snapshot.flag_status,
        forced=settings.forced,
        lock=None if lock is None else _lock(lock, snapshot.durability),
        last_rollback=snapshot.rollback,
        paths=path_figures(snapshot),
        verdicts=verdicts(snapshot),
        cells=[_cell(snapshot, name) for name in snapshot.fleet.names()],
        moving=snapshot.cell.moving() + sum(other.moving for other in snapshot.fleet.others().values()),
        allowed=_allowed(snapshot),
        undo_until=state.undo_until(now),
        build_notes=build_notes(snapshot),
        frozen_until=frozen_until(state.plan.freezes, now.wall),
        now=now.wall,
    )


def _lock(lock: Lock, durability: Durability | None) -> LockView:
    kept = durability or Durability(True, "")
    return LockView(
        generation=lock.generation, since=lock.since, by=lock.by, reason=lock.reason,
        durable=kept.durable, durability=kept.words,
    )  # fmt: skip


def plan_view(plan: Plan) -> PlanView:
    """A plan as pages see it: each stage with the percentage it really leads to."""
    stages = [
        StageView(percentage=plan.percentage_of(index), bake_s=stage.bake_s, advance=stage.advance)
        for index, stage in enumerate(plan.stages)
    ]
    return PlanView(name=plan.name, stages=stages)


def path_figures(snapshot: Snapshot) -> list[PathFigures]:
    """Both paths in all cells since the percentage last changed, at most of the last 15 minutes."""
    return [_figures(snapshot, path) for path in PATHS]


def _figures(snapshot: Snapshot, path: PathName) -> PathFigures:
    states = {snapshot.cell.name: snapshot.own_state(path)}
    tallies = [snapshot.counters.tally(path, snapshot.ticks, snapshot.mark)]
    for name, other in snapshot.fleet.others().items():
        states[name] = other.paths[path]
        tallies.append(other.tallies[path])
    return aggregate.path_figures(path, states, tallies, snapshot.now.wall)


def users_on(snapshot: Snapshot, path: PathName) -> int:
    """Users with an open session on a path, in all cells."""
    return snapshot.own_state(path).users + sum(other.paths[path].users for other in snapshot.fleet.others().values())


def verdicts(snapshot: Snapshot) -> list[VerdictView]:
    """One verdict per guardrail, of all cells with the same record in force: verdicts of another do not count."""
    others = [other for other in snapshot.fleet.others().values() if other.revision == snapshot.record.revision]
    return aggregate.verdicts([snapshot.verdicts, *(other.verdicts for other in others)])


def builds_differ(snapshot: Snapshot) -> str:
    """Which cells run which build of v3, for a person; empty: all that have one run the same."""
    states = {snapshot.cell.name: snapshot.cell.path_state(CANARY)}
    states |= {name: other.paths[CANARY] for name, other in snapshot.fleet.others().items()}
    cells: dict[str, list[str]] = {}
    for name, state in sorted(states.items()):
        if state.available and state.build:
            cells.setdefault(state.build, []).append(name)
    if len(cells) < 2:
        return ""
    return "v3 runs " + " and ".join(f"build {build} in {', '.join(names)}" for build, names in cells.items())


def build_notes(snapshot: Snapshot) -> list[str]:
    """What a person has to know of the builds: that they differ, and where a setting wins over what was loaded."""
    notes = (
        [f"{differ}: no more users are moved to v3 until they run the same"]
        if (differ := builds_differ(snapshot))
        else []
    )
    hosts = {host_of(cell) for cell in snapshot.fleet.names()}
    for loaded in snapshot.record.builds:
        for setting in loaded.hosts:
            if setting.changed is not None and setting.host in hosts:
                place = f" on {setting.host}" if setting.host else ""
                notes.append(
                    f"{loaded.path}{place} is served from {setting.changed}: its setting was changed after build "
                    f"{loaded.build} was loaded"
                )
    return notes


def exports_state(snapshot: Snapshot, path: PathName) -> bool | None:
    """Whether the sessions of a path take their state along when they leave it; see `aggregate.exports_state`."""
    others = [other.paths[path] for other in snapshot.fleet.others().values()]
    return aggregate.exports_state([snapshot.cell.path_state(path), *others])


def own_figures(snapshot: Snapshot) -> CellFigures:
    """What this cell tells the others of itself, without the marks by which they tell users apart."""
    return CellFigures(
        process=snapshot.fleet.process,
        revision=snapshot.record.revision,
        locked=snapshot.record.lock is not None,
        percentage=snapshot.record.percentage,
        phase=snapshot.record.phase,
        flag_age_s=snapshot.flag_age_s or 0.0,
        paths={path: snapshot.own_state(path) for path in PATHS},
        tallies={path: snapshot.counters.tally(path, snapshot.ticks, snapshot.mark) for path in PATHS},
        slots=snapshot.counters.slots,
        moving=snapshot.cell.moving(),
        verdicts=list(snapshot.verdicts),
        settings={path: source_of(snapshot.settings, path) for path in PATHS},
    )


def _next(state: Rollout, now: Now) -> tuple[int | None, float | None]:
    """The percentage that follows by the plan, and when it can follow at the earliest."""
    if state.phase == "idle" and state.start_at is not None:
        return state.plan.percentage_of(0), state.start_at
    if state.phase not in ("progressing", "paused"):
        return None, None
    index = state.plan.next_after(state.percentage)
    share = None if index is None else state.plan.percentage_of(index)
    if share is None and state.percentage < state.plan.stages[-1].percentage:
        share = state.plan.stages[-1].percentage  # what the last stage holds back follows at its end
    return share, state.bake_ends_at(now)


def _cell(snapshot: Snapshot, name: str) -> CellState:
    if name == snapshot.cell.name:
        return CellState(
            name=name,
            revision=snapshot.record.revision,
            sessions=sum(snapshot.cell.path_state(path).sessions for path in PATHS),
            silent_s=0.0,
            silent=False,
            has_lock=snapshot.record.lock is not None,
        )
    other = snapshot.fleet.others().get(name)
    return CellState(
        name=name,
        revision=other.revision if other else 0,
        sessions=sum(state.sessions for state in other.paths.values()) if other else 0,
        silent_s=snapshot.fleet.silent_s(name),
        silent=snapshot.fleet.silent(name),
        has_lock=other is not None and other.locked,
    )


def _allowed(snapshot: Snapshot) -> dict[str, str]:
    verbs: dict[str, str] = {str(verb): words for verb, words in allowed(snapshot.record, snapshot.now).items()}
    try:
        check_load(snapshot.record, users_on_v3=users_on(snapshot, CANARY), live=False)
        verbs["load"] = ""
    except NotInPhase as refused:
        verbs["load"] = refused.allowed
    if snapshot.store_down:
        verbs = {verb: words or ("" if verb == "rollback" else NO_STORE) for verb, words in verbs.items()}
    return verbs


def own_census(snapshot: Snapshot) -> Census:
    """The connected users of this cell, without those that another cell of this host counts."""
    return census.take(snapshot.cell.buckets(), snapshot.view, _group(snapshot), snapshot.fleet.counted_elsewhere())


def user_view(snapshot: Snapshot, user_id: str, sessions: list[SessionView] | None = None) -> UserView:
    """Where a user with these sessions (by default those in this cell) is, or would be on connecting, and why."""
    number = bucket(_group(snapshot), user_id)
    sessions = snapshot.cell.sessions_of(user_id) if sessions is None else sessions
    decided = assign(user_id, snapshot.view, number)
    return UserView(
        user_id=user_id,
        path=sessions[0].path if sessions else decided.path,
        reason=sessions[0].reason if sessions else decided.reason,
        bucket=number,
        percentage=snapshot.record.percentage,
        pin=snapshot.view.pins.get(user_id),
        sessions=sessions,
    )


def _group(snapshot: Snapshot) -> str:
    return snapshot.view.flag.group_id if snapshot.view.flag else snapshot.settings.flag
