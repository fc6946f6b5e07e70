"""Secrets that open the API: made here, shown once, and known afterwards only by their digest.

It must not know of HTTP or of cookies.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

from app.store.port import Token
from rollout.names import TokenRole

PREFIX = "cf_"
"""So that a leaked token can be found by a scanner."""
CODE_S = 86_400.0
"""A sign-in link is good once, and for a day."""


def digest_of(secret: str) -> str:
    """What the store keeps of a secret. It has 256 random bits, so a plain hash cannot be guessed back."""
    return sha256(secret.encode()).hexdigest()


def make_token(role: TokenRole, name: str, now: float, expires_at: float | None) -> tuple[str, Token]:
    """A new bearer token: the secret for its owner, and what to save of it."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Token(digest_of(secret), name, role, "bearer", now, expires_at)


def make_code(name: str, now: float) -> tuple[str, Token]:
    """A code for a sign-in link: whoever opens it first is `name`, a manager."""
    secret = secrets.token_urlsafe(32)
    return secret, Token(digest_of(secret), name, "manager", "code", now, now + CODE_S)
