"""The closed sets of words that decisions are made of, spelled as in metrics, URLs and pages."""

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

TokenRole = Literal["viewer", "oncall", "manager"]
"""What a person or a program that signs in may be."""
TOKEN_ROLES: Final[tuple[TokenRole, ...]] = ("viewer", "oncall", "manager")
Role = TokenRole | Literal["system"]
"""`system` is Crossfade itself (the evidence, the schedule); no token carries it."""
ROLES: Final[tuple[Role, ...]] = (*TOKEN_ROLES, "system")
"""In rank order: each may do what those before it may."""

Verb = Literal["start", "set", "promote", "pause", "resume", "rollback", "undo", "unlock", "plan"]
VERBS: Final[tuple[Verb, ...]] = (
    "start",
    "set",
    "promote",
    "pause",
    "resume",
    "rollback",
    "undo",
    "unlock",
    "plan",
)
"""What changes the record of a rollout."""
Action = Verb | Literal["look", "note", "pin", "load", "forget"]
"""All that needs a role; `forget` gives up a cell."""
