"""The closed sets of words that decisions are made of, spelled as in metrics, URLs and pages.

Knows words only; must not know what any of them leads to.
"""

from __future__ import annotations

from typing import Final, Literal

PathName = Literal["v2", "v3"]
PATHS: Final[tuple[PathName, ...]] = ("v2", "v3")
STABLE: Final[PathName] = "v2"
CANARY: Final[PathName] = "v3"

Reason = Literal["environment", "rolled_back", "v3_unavailable", "pinned", "flag"]
REASONS: Final[tuple[Reason, ...]] = ("environment", "rolled_back", "v3_unavailable", "pinned", "flag")

Phase = Literal["idle", "progressing", "paused", "completed", "rolled_back"]
PHASES: Final[tuple[Phase, ...]] = ("idle", "progressing", "paused", "completed", "rolled_back")

Verdict = Literal["pass", "inconclusive", "insufficient_data", "fail"]
VERDICTS: Final[tuple[Verdict, ...]] = ("pass", "inconclusive", "insufficient_data", "fail")
"""From best to worst: too early is better than no data, because it comes from somewhere."""

Advance = Literal["person", "automatic"]
ADVANCES: Final[tuple[Advance, ...]] = ("person", "automatic")

Role = Literal["viewer", "oncall", "manager", "system"]
"""`system` is Crossfade itself (the evidence, the schedule); no token carries it."""
