"""Whom a token signs in: keys that were renewed, times that cannot be, users that are numbers, and garbage."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.gateway.issuer_keys import BETWEEN_S, IssuerKeys, KeysUnavailable
from app.gateway.key_set_fetch import KeySetFetch
from app.gateway.token_check import SKEW_S, FixedKey, TokenCheck, TokenRefused
from app.verification_keys import key_of_setting
from tests.gateway.issuer import Issuer, Signer, answer_of, issuer

KEY = "a key of these tests, long enough for every one of the HMAC algorithms they use"
NOW = 1_800_000_000.0
FIXED = TokenCheck(FixedKey(key_of_setting(KEY)), issuer="", audience="", wall_clock=lambda: NOW)


class Clock:
    now = 0.0


@pytest.fixture
async def server() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def check(server: Issuer, clock: Clock) -> AsyncIterator[TokenCheck]:
    """Of the tokens of that issuer, over real connections."""
    keys = IssuerKeys(KeySetFetch(server.url), server.url, clock=lambda: clock.now)
    made = TokenCheck(keys, issuer="", audience="")
    yield made
    await made.close()


async def said(check: TokenCheck, token: str) -> str:
    """The user, or why nobody is signed in."""
    try:
        return (await check.check(token)).user_id
    except TokenRefused as refused:
        return str(refused)
    except KeysUnavailable:
        return "unavailable"


def signed(**claims: Any) -> str:
    return jwt.encode({"sub": "ann"} | claims, KEY, "HS256")


# -- keys of an issuer ------------------------------------------------------------------------------------------------


async def test_a_key_that_was_rotated_signs_in(server: Issuer, check: TokenCheck, clock: Clock) -> None:
    old, new = Signer("k1"), Signer("k2")
    server.publish(old)
    assert await said(check, old.token()) == "ann"
    server.publish(old, new)
    clock.now += BETWEEN_S
    assert await said(check, new.token(sub="bob")) == "bob"
    assert await said(check, old.token()) == "ann"
    assert len(server.requests) == 2


@pytest.mark.parametrize("kid", [None, "k1"])
async def test_a_single_key_without_a_name_signs_in_also_after_its_rotation(
    server: Issuer, check: TokenCheck, clock: Clock, kid: str | None
) -> None:
    old, new = Signer(None), Signer(None)
    server.publish(old)
    assert await said(check, old.token(kid)) == "ann"
    server.publish(new)
    assert await said(check, new.token(kid)) == "the token is not valid", "the issuer was asked just now"
    clock.now += BETWEEN_S
    assert await said(check, new.token(kid)) == "ann"
    assert await said(check, old.token(kid)) == "the token is not valid"
    assert len(server.requests) == 2


async def test_a_forged_signature_under_a_known_name_asks_nobody(
    server: Issuer, check: TokenCheck, clock: Clock
) -> None:
    server.publish(Signer("k1"))
    assert await said(check, Signer("k1").token()) == "the token is not valid"
    clock.now += BETWEEN_S
    assert await said(check, Signer("k1").token()) == "the token is not valid"
    assert len(server.requests) == 1


async def test_absent_is_refused_and_not_fetched_is_unavailable(
    server: Issuer, check: TokenCheck, clock: Clock
) -> None:
    known = Signer("k1")
    server.publish(known)
    unknown = Signer("k2").token()
    assert await said(check, unknown) == "the token is signed with a key that its issuer does not have"
    for answer in (answer_of(503, b"busy"), answer_of(200, b"<html>down</html>"), answer_of(301, b"")):
        server.answer = answer
        clock.now += BETWEEN_S
        assert await said(check, unknown) == "unavailable"
        assert await said(check, known.token()) == "ann", "the key that was fetched before is still good"


async def test_a_key_that_the_issuer_shares_as_a_secret_checks_nothing(server: Issuer, check: TokenCheck) -> None:
    """Whoever can read the set could sign with it."""
    shared = {"kty": "oct", "kid": "k1", "alg": "HS256", "k": base64.urlsafe_b64encode(KEY.encode()).decode()}
    server.answer = answer_of(200, json.dumps({"keys": [shared, Signer("k2").published()]}).encode())
    token = jwt.encode({"sub": "ann"}, KEY, "HS256", {"kid": "k1"})
    assert await said(check, token) == "the token is signed with a key that its issuer does not have"


# -- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({}, "ann"),
        ({"exp": NOW + 1}, "ann"),
        ({"exp": NOW - SKEW_S + 1}, "ann"),
        ({"exp": NOW - SKEW_S}, "the token has expired"),
        ({"nbf": NOW + SKEW_S, "iat": NOW + SKEW_S}, "ann"),
        ({"nbf": NOW + SKEW_S + 1}, "the token is not valid yet (`nbf`)"),
        ({"iat": NOW + SKEW_S + 1}, "the token is not valid yet (`iat`)"),
        ({"exp": NOW * 1000}, "the token's `exp` is no time in Unix seconds"),
        ({"exp": 10**400}, "the token's `exp` is no time in Unix seconds"),
        ({"exp": float("inf")}, "the token's `exp` is no time in Unix seconds"),
        ({"exp": float("nan")}, "the token's `exp` is no time in Unix seconds"),
        ({"exp": -1}, "the token's `exp` is no time in Unix seconds"),
        ({"exp": True}, "the token's `exp` is no time in Unix seconds"),
        ({"exp": None}, "the token's `exp` is no time in Unix seconds"),
        ({"exp": [NOW]}, "the token's `exp` is no time in Unix seconds"),
        ({"iat": 10**400}, "the token's `iat` is no time in Unix seconds"),
        ({"nbf": float("inf")}, "the token's `nbf` is no time in Unix seconds"),
    ],
)
async def test_times_have_ten_seconds_of_skew_and_absurd_ones_are_named(claims: dict[str, Any], words: str) -> None:
    assert await said(FIXED, signed(**claims)) == words


async def test_a_sign_in_ends_when_its_token_is_no_longer_accepted() -> None:
    """Else whoever came in within the skew would be closed at once."""
    assert (await FIXED.check(signed(exp=NOW))).expires_at == NOW + SKEW_S
    assert (await FIXED.check(signed())).expires_at is None


# -- users ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sub", "words"),
    [
        ("ann", "ann"),
        (12345, "12345"),
        (0, "0"),
        (10**30, "1" + "0" * 30),
        (1.5, "the token has no `sub` that is text or a whole number"),
        (True, "the token has no `sub` that is text or a whole number"),
        (None, "the token has no `sub` that is text or a whole number"),
        ({"id": 1}, "the token has no `sub` that is text or a whole number"),
    ],
)
async def test_a_user_is_text_or_a_whole_number(sub: object, words: str) -> None:
    assert await said(FIXED, signed(sub=sub)) == words


# -- garbage ----------------------------------------------------------------------------------------------------------


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "x"]), JSON | st.just("HS256"))
CLAIMS = st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "jti"]), JSON)


@given(header=HEADERS | st.binary(max_size=20), body=CLAIMS | st.binary(max_size=20), signature=st.binary(max_size=40))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
async def test_garbage_is_refused_and_never_an_error(header: Any, body: Any, signature: bytes) -> None:
    head, claims = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, body))
    with pytest.raises(TokenRefused):
        await FIXED.check(f"{part(head)}.{part(claims)}.{part(signature)}")


@given(claims=CLAIMS)
@settings(max_examples=200)
async def test_claims_that_are_signed_are_taken_or_refused(claims: dict[str, Any]) -> None:
    signing = part(b'{"alg":"HS256"}') + "." + part(json.dumps(claims).encode())
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signing.encode(), KEY.encode())
    assert isinstance(await said(FIXED, f"{signing}.{part(signature)}"), str)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", part(b"[" * 9000) + ".e30.", "e30.e30.e30", "ä.ä.ä", "\x00.\x00.\x00"]
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    assert await said(FIXED, token) == "the token is not valid"


async def test_an_issuer_that_was_never_asked_is_not_blamed_for_garbage(server: Issuer, check: TokenCheck) -> None:
    assert await said(check, "a.b.c") == "the token is not valid"
    assert server.requests == []
