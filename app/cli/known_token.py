"""The public part of a token."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from rollout.names import TokenRole


class KnownToken(Struct, frozen=True):
    """The part of a token that may be shown; times in Unix seconds."""

    id: str
    name: str
    role: TokenRole
    created_at: float
    expires_at: float | None
    state: Literal["good", "expired", "revoked"]
    kind: Literal["token", "browser"] = "token"
    """`browser`: the session that a sign-in link began."""
