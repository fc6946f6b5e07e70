"""Many cells as one: path figures, verdicts, previews, users and error groups, summed or taken at their worst.

Pure; must not know where the parts come from. Users are summed too: one with sockets in two cells counts in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from app.control.ledger import BUCKETS, Tally, quantile_ms
from app.control.ports import PathState
from dashboards.views import ErrorGroup, PathFigures, Preview, Verdict
from rollout.names import STABLE, VERDICTS, Path


def path_figures(path: Path, states: Mapping[str, PathState], tallies: Sequence[Tally], now: float) -> PathFigures:
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
        since=now - max(tally.seconds for tally in tallies),
    )


def _reasons(states: Mapping[str, PathState]) -> str | None:
    missing = {name: state.reason or "no reason is known" for name, state in states.items() if not state.available}
    if not missing:
        return None
    if len(states) == 1:
        return next(iter(states.values())).reason
    return "; ".join(f"cell {name}: {reason}" for name, reason in sorted(missing.items()))


def per_session_bytes(states: Iterable[PathState]) -> float | None:
    """The mean over the sessions of all cells where it is known."""
    known = [(state.session_memory_bytes, state.sessions) for state in states if state.session_memory_bytes is not None]
    weight = sum(sessions for _, sessions in known)
    if not weight:
        return known[0][0] if known else None
    return sum(each * sessions for each, sessions in known) / weight


def worst_verdicts(of_cells: Iterable[Sequence[Verdict]]) -> list[Verdict]:
    """One verdict per guardrail: the one of the cell where it is worst, then of the one with the most evidence."""
    worst: dict[str, Verdict] = {}
    for verdicts in of_cells:
        for verdict in verdicts:
            known = worst.get(verdict.guardrail)
            if known is None or _rank(verdict) > _rank(known):
                worst[verdict.guardrail] = verdict
    return list(worst.values())


def _rank(verdict: Verdict) -> tuple[int, float]:
    return VERDICTS.index(verdict.verdict), verdict.evidence or 0.0


def sum_previews(previews: Sequence[Preview]) -> Preview:
    """What a percentage would move in all cells."""
    return Preview(
        percentage=previews[0].percentage,
        users_to_v3=sum(each.users_to_v3 for each in previews),
        users_to_v2=sum(each.users_to_v2 for each in previews),
        sessions_to_v3=sum(each.sessions_to_v3 for each in previews),
        sessions_to_v2=sum(each.sessions_to_v2 for each in previews),
    )


def merge_errors(of_cells: Iterable[Sequence[ErrorGroup]]) -> list[ErrorGroup]:
    """The error groups of all cells; seen only on v3 is what no cell has seen on v2."""
    groups: dict[tuple[str, str, str], ErrorGroup] = {}
    for group in (group for cell in of_cells for group in cell):
        key = (group.path, group.code, group.fingerprint)
        known = groups.get(key)
        groups[key] = group if known is None else _merged(known, group)
    stable = {key[1:] for key in groups if key[0] == STABLE}
    marked = [
        msgspec.structs.replace(group, only_on_v3=path != STABLE and (code, fingerprint) not in stable)
        for (path, code, fingerprint), group in groups.items()
    ]
    return sorted(marked, key=lambda group: (not group.only_on_v3, -group.count))


def _merged(one: ErrorGroup, other: ErrorGroup) -> ErrorGroup:
    last = max(one, other, key=lambda group: group.last_at)
    return msgspec.structs.replace(
        last,
        count=one.count + other.count,
        users=one.users + other.users,
        first_at=min(one.first_at, other.first_at),
    )
