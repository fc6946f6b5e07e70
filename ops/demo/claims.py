"""The claims of the demo, each compared with what was measured; they decide the exit code. Without I/O."""

from __future__ import annotations

from dataclasses import dataclass

from app.loadtest.report import LoadReport
from rollout.views import RollbackView

BY_ITSELF = "evidence"


@dataclass(frozen=True, slots=True)
class Claim:
    """One promise in words, with the measured figures, and whether it was kept."""

    held: bool
    words: str

    def line(self) -> str:
        return f"  {'held   ' if self.held else 'BROKEN '} {self.words}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the demo saw of the service; the report of the clients has their side."""

    rollback: RollbackView | None
    """The last rollback, as the service showed it at the end."""
    deaths: int
    interrupted: int
    """Messages that were lost with v3's workers or that the rollback did not wait for, by the service's count."""


def claims_of(seen: Seen, report: LoadReport, *, fault: bool) -> list[Claim]:
    """All claims; the demo succeeds if every one is true."""
    return [
        _rolled_back(seen.rollback) if fault else _left_alone(seen),
        Claim(
            not report.drops and report.connected == report.clients,
            f"the same {report.clients} sockets throughout: {report.connected} opened, "
            f"{sum(report.drops.values())} closed by the service",
        ),
        Claim(
            report.accepted > 0 and report.accepted == report.finished and not report.broken_rules,
            f"exactly one terminal event for each accepted message, in order: {report.finished} of {report.accepted}",
        ),
        _errors(seen, report, fault=fault),
        _arrived(report),
    ]


def _rolled_back(done: RollbackView | None) -> Claim:
    if done is None:
        return Claim(False, "v3's failure was rolled back: it was not")
    held = done.by == BY_ITSELF and done.verified_at is not None and done.closed == 0
    verified = "verified" if done.verified_at is not None else "NOT verified"
    return Claim(held, f"v3's failure was rolled back by {done.by} ({done.reason}), {verified}, {done.closed} closed")


def _left_alone(seen: Seen) -> Claim:
    rollbacks = 0 if seen.rollback is None else 1
    return Claim(
        not rollbacks and not seen.deaths,
        f"nothing was wrong, and nothing was rolled back: {seen.deaths} deaths, {rollbacks} rollbacks",
    )


def _arrived(report: LoadReport) -> Claim:
    on_v3 = 0 if report.share is None else report.share.on_v3
    return Claim(on_v3 == report.clients, f"at the end, with all sockets open, {on_v3} of {report.clients} users on v3")


def _errors(seen: Seen, report: LoadReport, *, fault: bool) -> Claim:
    interrupted = report.errors.get("interrupted", 0)
    others = sum(report.errors.values()) - interrupted + sum(report.refusals.values())
    if not fault:
        return Claim(others + interrupted == 0, f"{others + interrupted} of {report.sent} messages failed")
    return Claim(
        others == 0 and interrupted == seen.interrupted,
        f"interrupted was only what ran in a dying worker: {interrupted} of {report.sent} messages, "
        f"{seen.interrupted} by the service's count, {others} other errors",
    )
