"""Tokens and sign-in codes for the API: made here, shown once, and kept only as a digest."""

from __future__ import annotations

import secrets
from hashlib import sha256

from app.store.port import Token
from rollout.names import TokenRole

PREFIX = "cf_"
"""Lets scanners recognise a leaked token."""
CODE_S = 86_400.0
"""A sign-in link works once, and for a day."""
OPERATOR_S = 30 * 86_400.0
"""How long the token of a host's own commands is good after the service that renews it has ended."""


def digest_of(secret: str) -> str:
    """What the store keeps of a secret. The secret has 256 random bits, so a plain hash cannot be reversed."""
    return sha256(secret.encode()).hexdigest()


def make_token(role: TokenRole, name: str, now: float, expires_at: float | None) -> tuple[str, Token]:
    """A new bearer token: the secret for its owner, and the row to save. Times in Unix seconds."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Token(digest_of(secret), name, role, "bearer", now, expires_at)


def make_code(name: str, now: float) -> tuple[str, Token]:
    """A code for a sign-in link: whoever uses it first is signed in as `name`, a manager."""
    secret = secrets.token_urlsafe(32)
    return secret, Token(digest_of(secret), name, "manager", "code", now, now + CODE_S)
