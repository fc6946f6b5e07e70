"""The result of a load test: counts, latencies, broken rules, and whether the users' paths fit the percentage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec import Struct

from app.loadtest.history import ClientHistory, Violation, by_rule

K = TypeVar("K", int, str)

SHOWN_VIOLATIONS = 10
STANDARD_ERRORS = 3.0


class CohortShare(Struct, frozen=True):
    """How many of the test's users are on v3, compared with the percentage that was in force."""

    on_v3: int
    users: int
    expected: float
    """Percent."""

    @property
    def tolerance(self) -> float:
        """Three standard errors of a share among this many users, in percentage points."""
        share = self.expected / 100
        return 100 * STANDARD_ERRORS * math.sqrt(share * (1 - share) / self.users) if self.users else math.inf

    @property
    def fits(self) -> bool:
        return self.users > 0 and abs(100 * self.on_v3 / self.users - self.expected) <= self.tolerance + 1e-9

    def words(self) -> str:
        if not self.users:
            return "v3 share: none of these users had an open session"
        return (
            f"v3 share {100 * self.on_v3 / self.users:.1f} % of {self.users} users (expected {self.expected:g} %, "
            f"{'within' if self.fits else 'NOT within'} 3 standard errors)"
        )


class LoadReport(Struct, frozen=True, kw_only=True):
    """The result of a load test."""

    clients: int
    connected: int
    failures: dict[str, int]
    """Number of clients that could not connect, by reason."""
    seconds: float
    sent: int
    accepted: int
    finished: int
    unknown: int
    messages_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    drops: dict[int, int]
    """Number of closes that no client had asked for, by close code."""
    refusals: dict[str, int]
    errors: dict[str, int]
    """Number of accepted messages that ended with `error`, by code."""
    broken_rules: dict[str, int]
    violations: list[Violation]
    share: CohortShare | None = None

    @property
    def passed(self) -> bool:
        """Whether every client connected, none was dropped, no rule was broken, and the share fits."""
        shares_fit = self.share is None or self.share.fits
        return self.connected == self.clients and not self.drops and not self.broken_rules and shares_fit

    def words(self) -> str:
        """The report as text for a terminal."""
        lines = [
            f"clients     {self.connected} of {self.clients} connected{_counts(self.failures)}",
            f"messages    {self.sent} sent, {self.accepted} accepted, {self.finished} finished, "
            f"{self.messages_per_second:.1f}/s",
            f"latency     p50 {_ms(self.p50_ms)}, p99 {_ms(self.p99_ms)}",
            f"drops       {sum(self.drops.values())}{_counts(self.drops)}",
            f"refused     {sum(self.refusals.values())}{_counts(self.refusals)}",
            f"errors      {sum(self.errors.values())}{_counts(self.errors)}",
            f"contract    {_contract(self.broken_rules)}",
        ]
        lines += [f"  {each.rule}: {each.user_id}: {each.detail}" for each in self.violations[:SHOWN_VIOLATIONS]]
        if self.share is not None:
            lines.append(f"share       {self.share.words()}")
        lines.append("PASSED" if self.passed else "FAILED")
        return "\n".join(lines)


def summarize(
    histories: Sequence[ClientHistory],
    *,
    failures: dict[str, int],
    latencies_s: Sequence[float],
    errors: dict[str, int],
    sent: int,
    seconds: float,
    share: CohortShare | None = None,
) -> LoadReport:
    """End all histories and add them up."""
    violations = [violation for history in histories for violation in history.end()]
    ordered = sorted(latencies_s)
    finished = sum(history.finished for history in histories)
    return LoadReport(
        clients=len(histories),
        connected=len(histories) - sum(failures.values()),
        failures=failures,
        seconds=seconds,
        sent=sent,
        accepted=sum(history.accepted for history in histories),
        finished=finished,
        unknown=sum(history.unknown for history in histories),
        messages_per_second=finished / seconds if seconds else 0.0,
        p50_ms=quantile_ms(ordered, 0.50),
        p99_ms=quantile_ms(ordered, 0.99),
        drops=_sum(history.drops for history in histories),
        refusals=_sum(history.refusals for history in histories),
        errors=errors,
        broken_rules=by_rule(violations),
        violations=violations,
        share=share,
    )


def quantile_ms(ordered_s: Sequence[float], share: float) -> float | None:
    """The smallest of the sorted values that at least `share` of them do not exceed, in milliseconds."""
    if not ordered_s:
        return None
    return ordered_s[max(0, math.ceil(share * len(ordered_s)) - 1)] * 1000


def _sum(parts: Iterable[dict[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    return total


def _counts(counts: dict[K, int]) -> str:
    return "".join(f"; {key}: {count}" for key, count in sorted(counts.items(), key=lambda each: -each[1]))


def _ms(value: float | None) -> str:
    return "no data" if value is None else f"{value:.1f} ms"


def _contract(broken: dict[str, int]) -> str:
    if not broken:
        return "every message had one ack and one terminal event, in order, no gap in seq"
    return f"BROKEN{_counts(broken)}"
