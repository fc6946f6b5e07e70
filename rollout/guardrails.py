"""How the verdicts of several guardrails become one. No data is a verdict of its own, never a pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rollout.names import VERDICTS, Verdict

BUILT_IN: Final = ("errors", "slow", "memory", "crashes", "sample_ratio")
"""Names of the guardrails that need no definition in a plan."""

_SEVERITY: Final[Mapping[Verdict, int]] = {verdict: severity for severity, verdict in enumerate(VERDICTS)}


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; of none: `insufficient_data`, because nobody looked."""
    return max(verdicts, key=_SEVERITY.__getitem__, default="insufficient_data")


def worst_for(names: Iterable[str], verdicts: Mapping[str, Verdict]) -> Verdict:
    """The worst verdict of the guardrails named; one that was not reported counts as `insufficient_data`."""
    return worst_of(verdicts.get(name, "insufficient_data") for name in names)


def failed(names: Iterable[str], verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
    """The guardrails among those named that show harm, in the order given."""
    return tuple(name for name in names if verdicts.get(name) == "fail")
