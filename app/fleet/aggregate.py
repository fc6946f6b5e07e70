"""Path figures and verdicts of many cells as one: summed, or the worst of them. Pure.

Users are summed, because each cell leaves out those that an earlier cell of its host counts; a user with sockets on two
hosts counts on both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from app.metrics import crashes
from app.metrics.counters import BUCKETS, Tally, quantile_ms
from app.pool.state import PathState
from rollout.names import STABLE, VERDICTS, PathName
from rollout.views import PathFigures, VerdictView


def path_figures(path: PathName, states: Mapping[str, PathState], tallies: Sequence[Tally], now: float) -> PathFigures:
    """One path in all cells; `states` by cell."""
    counts: Counter[int] = Counter()
    for tally in tallies:
        counts.update(tally.histogram)
    histogram = [counts[index] for index in range(BUCKETS)]
    ok, errors = sum(tally.ok for tally in tallies), sum(tally.errors for tally in tallies)
    sessions = sum(state.sessions for state in states.values())
    uptimes = [state.uptime_s for state in states.values() if state.uptime_s is not None]
    memory = [state.memory_bytes for state in states.values() if state.memory_bytes is not None]
    return PathFigures(
        path=path,
        role="stable" if path == STABLE else "canary",
        available=all(state.available for state in states.values()),
        unavailable_reason=_reasons(states),
        build=", ".join(sorted({state.build for state in states.values() if state.build})) or None,
        sessions=sessions,
        users=sum(state.users for state in states.values()),
        messages=ok + errors,
        errors=errors,
        interrupted=sum(tally.interrupted for tally in tallies),
        rejected=sum(tally.rejected for tally in tallies),
        error_rate=errors / (ok + errors) if ok + errors else None,
        messages_per_second=sum(tally.messages_per_second for tally in tallies),
        p50_ms=quantile_ms(histogram, 0.5),
        p99_ms=quantile_ms(histogram, 0.99),
        memory_bytes=sum(memory) if memory else None,
        session_memory_bytes=per_session_bytes(states.values()),
        restarts=sum(state.restarts for state in states.values()),
        uptime_s=min(uptimes, default=None),
        exports_state=exports_state(states.values()),
        since=now - max(tally.seconds for tally in tallies),
    )


def _reasons(states: Mapping[str, PathState]) -> str | None:
    missing = {name: state.reason or "no reason is known" for name, state in states.items() if not state.available}
    if not missing:
        return None
    if len(states) == 1:
        return next(iter(states.values())).reason
    return "; ".join(f"cell {name}: {reason}" for name, reason in sorted(missing.items()))


def exports_state(states: Iterable[PathState]) -> bool | None:
    """False when any cell has a build that exports no state; None when no cell has said."""
    return min((state.exports_state for state in states if state.exports_state is not None), default=None)


def per_session_bytes(states: Iterable[PathState]) -> float | None:
    """The mean over the sessions of all cells that have measured it; None: no cell has."""
    means = [(state.session_memory_bytes, state.sessions) for state in states if state.session_memory_bytes is not None]
    weight = sum(sessions for _, sessions in means)
    if not weight:
        return means[0][0] if means else None
    return sum(mean * sessions for mean, sessions in means) / weight


def verdicts(of_cells: Iterable[Sequence[VerdictView]]) -> list[VerdictView]:
    """One verdict per guardrail: the worst of all cells, and among equals the one with the most evidence.

    Deaths of workers are counts, so those of all cells are added.
    """
    worst: dict[str, VerdictView] = {}
    deaths = 0
    for of_cell in of_cells:
        for verdict in of_cell:
            deaths += int(verdict.evidence or 0) if verdict.guardrail == crashes.GUARDRAIL else 0
            other = worst.get(verdict.guardrail)
            if other is None or _rank(verdict) > _rank(other):
                worst[verdict.guardrail] = verdict
    if crashes.GUARDRAIL in worst:
        worst[crashes.GUARDRAIL] = crashes.verdict_of(deaths)
    return list(worst.values())


def _rank(verdict: VerdictView) -> tuple[int, float]:
    return VERDICTS.index(verdict.verdict), verdict.evidence or 0.0
