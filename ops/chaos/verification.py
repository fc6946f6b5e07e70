"""Checks that `verified` was true: after it, nobody may be on v3, be admitted to it or be answered by it until the
unlock.

Without I/O; times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct


class Sighting(Struct, frozen=True):
    """The service's figures of v3 at one moment under the lock."""

    at: float
    sessions: int
    admissions: float
    """Counted since the service started."""


def said_too_early(verified_at: float, sightings: Iterable[Sighting], answers_at: Iterable[float] = ()) -> list[str]:
    """What contradicts `verified_at`; empty when nothing does.

    `answers_at`: when clients heard an answer that v3 gave; those on their way at that moment arrive after it.
    """
    later = [sighting for sighting in sightings if sighting.at >= verified_at]
    wrong = [f"{each.sessions} sessions on v3 {_after(each.at, verified_at)}" for each in later if each.sessions]
    admitted = later[-1].admissions - later[0].admissions if later else 0
    if admitted:
        wrong.append(f"{admitted:g} admissions to v3 after the rollback was verified")
    wrong += [f"an answer of v3 {_after(at, verified_at)}" for at in answers_at if at > verified_at + ON_ITS_WAY_S]
    return wrong


ON_ITS_WAY_S = 0.25
"""Most seconds between a gateway's write of an event and the moment at which a busy client has read it."""


def _after(at: float, verified_at: float) -> str:
    return f"{(at - verified_at) * 1000:.0f} ms after the rollback was verified"
