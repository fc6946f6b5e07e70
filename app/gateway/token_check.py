"""Checks a client's token (JWT, RFC 7519): its signature, for whom it is, and the times in it.

"This token is bad" and "this token cannot be checked now" are two answers; who gets the first signs in anew.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import NamedTuple, Protocol

import jwt

from app.errors import CrossfadeError
from app.gateway.issuer_keys import IssuerKeys, UnknownKey
from app.gateway.key_set_fetch import KeySetFetch
from app.settings import Settings, shown_value
from app.verification_keys import VerificationKey, key_of_setting

SKEW_S = 10.0
"""By so much the clocks of issuer and service may differ."""
END_OF_TIME = 253_402_300_800
"""The year 10000 in Unix seconds. A time after it was written in another unit, such as milliseconds."""


class TokenRefused(CrossfadeError):
    """The token signs nobody in; the text is for the client."""


class SignedIn(NamedTuple):
    """Whom a token signs in. `expires_at`: Unix seconds, the skew of clocks included; None: it never expires."""

    user_id: str
    expires_at: float | None


class Keys(Protocol):
    """Where the key of a token is found; `app.gateway.issuer_keys` has those of an issuer."""

    async def of(self, name: str | None, instead_of: VerificationKey | None = None) -> VerificationKey: ...
    async def close(self) -> None: ...


class FixedKey:
    """The one key of the settings."""

    def __init__(self, key: VerificationKey) -> None:
        self._key = key

    async def of(self, name: str | None, instead_of: VerificationKey | None = None) -> VerificationKey:
        if instead_of is not None:
            raise UnknownKey
        return self._key

    async def close(self) -> None:
        """There is nothing to end."""


def keys_of(settings: Settings) -> Keys:
    """The keys that the settings name, which were checked when they were read."""
    if settings.jwks_url:
        return IssuerKeys(KeySetFetch(settings.jwks_url), shown_value("jwks_url", settings.jwks_url))
    return FixedKey(key_of_setting(settings.jwt_key))


class TokenCheck:
    """One for the cell."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, wall_clock: Callable[[], float] = time) -> None:
        """`issuer` and `audience` empty: not checked. `wall_clock` gives Unix seconds."""
        self._keys = keys
        self._issuer = issuer or None
        self._audience = audience or None
        self._wall_clock = wall_clock

    async def check(self, token: str) -> SignedIn:
        """Whom the token signs in. Raises `TokenRefused`; `KeysUnavailable` when it cannot be checked now."""
        try:
            name = jwt.get_unverified_header(token).get("kid")
            claims = await self._verified(token, name)
        except UnknownKey:
            raise TokenRefused("the token is signed with a key that its issuer does not have") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise TokenRefused("the token is not valid") from None
        return SignedIn(_subject(claims), self._checked_times(claims))

    async def close(self) -> None:
        """End what is under way."""
        await self._keys.close()

    async def _verified(self, token: str, name: str | None) -> dict[str, object]:
        key = await self._keys.of(name)
        try:
            return self._decode(token, key)
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError) as error:
            if name is not None and key.name == name:
                raise
            try:
                key = await self._keys.of(name, instead_of=key)
            except UnknownKey:
                raise error from None
        return self._decode(token, key)

    def _decode(self, token: str, key: VerificationKey) -> dict[str, object]:
        return jwt.decode(
            token,
            key.key,
            algorithms=key.algorithms,
            audience=self._audience,
            issuer=self._issuer,
            options={
                "verify_aud": self._audience is not None,
                "verify_jti": False,
                # Checked here, where a wrong one is named.
                "verify_sub": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )

    def _checked_times(self, claims: dict[str, object]) -> float | None:
        """When the sign-in ends."""
        now = self._wall_clock()
        for name in ("nbf", "iat"):
            begins_at = _time(claims, name)
            if begins_at is not None and begins_at > now + SKEW_S:
                raise TokenRefused(f"the token is not valid yet (`{name}`)")
        expires_at = _time(claims, "exp")
        if expires_at is None:
            return None
        if expires_at + SKEW_S <= now:
            raise TokenRefused("the token has expired")
        return expires_at + SKEW_S


def _time(claims: dict[str, object], name: str) -> float | None:
    if name not in claims:
        return None
    seconds = claims[name]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < END_OF_TIME:
        raise TokenRefused(f"the token's `{name}` is no time in Unix seconds")
    return float(seconds)


def _subject(claims: dict[str, object]) -> str:
    """The user. Some issuers write whole numbers, although RFC 7519 says text."""
    subject = claims.get("sub")
    if isinstance(subject, str):
        return subject
    if isinstance(subject, int) and not isinstance(subject, bool):
        return str(subject)
    raise TokenRefused("the token has no `sub` that is text or a whole number")
