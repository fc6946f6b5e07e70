"""Who is let in: each check alone, and the order in which they speak."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from litestar.datastructures import Headers

from app.gateway import admission as door_module
from app.gateway.admission import Admission, AdmissionRefused, Caller
from app.gateway.ports import ClientSocket
from app.gateway.token_check import SKEW_S
from app.settings import Settings
from tests.gateway.harness import FixedOccupancy

KEY = "a key of these tests, long enough for every one of the HMAC algorithms they use"
LATER = 4_102_444_800
SIGNED = Settings(client_auth="jwt", jwt_key=KEY)
UNSIGNED = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm4ifQ."
"""The header says `"alg": "none"`, and nothing is signed."""


def admission_of(settings: Settings = SIGNED, occupancy: FixedOccupancy | None = None) -> Admission:
    return Admission(
        settings,
        FixedOccupancy() if occupancy is None else occupancy,
        lambda user: f"t-{user}",
        lambda user, thread: thread == f"t-{user}",
    )


def settings_of(**changes: Any) -> Settings:
    return Settings(**{"client_auth": "jwt", "jwt_key": KEY} | changes)


def token(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": "ann", "exp": LATER} | claims, key, algorithm)


def caller(
    bearer: str | None = None,
    peer: str = "192.0.2.1",
    forwarded: tuple[str, ...] = (),
    query: dict[str, str] | None = None,
    subprotocols: tuple[str, ...] = (),
    **headers: str,
) -> Caller:
    named = dict(headers) | ({} if bearer is None else {"authorization": f"Bearer {bearer}"})
    lines = [*named.items(), *(("x-forwarded-for", value) for value in forwarded)]
    return Caller(peer, Headers([(name.encode(), value.encode()) for name, value in lines]), query or {}, subprotocols)


async def refusal(admission: Admission, who: Caller, *, socket: bool = True, resuming: bool = False) -> int | None:
    """The status it is refused with; None: let in."""
    try:
        await admission.admit(who, socket=socket, resumes=(lambda user: True) if resuming else None)
    except AdmissionRefused as refused:
        return refused.status
    return None


# -- the order --------------------------------------------------------------------------------------------------------


async def test_the_order_is_origin_rate_sign_in_full() -> None:
    settings = settings_of(rate_connections_per_second=1, rate_connections_burst=1, max_sessions=1)
    wrong, good = caller("bad", origin="https://evil.example"), caller("bad")
    full = FixedOccupancy(size=1, of_user=9)
    admission = admission_of(settings, full)
    assert [await refusal(admission, wrong) for _ in range(3)] == [403] * 3, "an origin costs no attempt"
    assert await refusal(admission, good) == 401, "a full cell tells nobody but the signed in"
    assert await refusal(admission, good) == 429
    assert await refusal(admission_of(settings, full), caller(token())) == 503, "full comes before too many of one user"
    assert await refusal(admission_of(settings_of(), full), caller(token())) == 429


# -- origin -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "headers", "status"),
    [
        ("", {}, None),
        ("", {"origin": "https://app.example", "host": "app.example"}, None),
        ("", {"origin": "https://app.example:8443", "host": "app.example:8443"}, None),
        ("", {"origin": "https://app.example", "host": "other.example"}, 403),
        ("", {"origin": "null", "host": "app.example"}, 403),
        ("https://a.example, https://b.example/", {"origin": "https://b.example"}, None),
        ("https://a.example", {"origin": "https://app.example", "host": "app.example"}, 403),
        ("https://a.example", {"origin": "http://a.example"}, 403),
    ],
)
async def test_an_origin_is_listed_or_the_same_host(origins: str, headers: dict[str, Any], status: int | None) -> None:
    assert await refusal(admission_of(settings_of(origins=origins)), caller(token(), **headers)) == status


# -- rate -------------------------------------------------------------------------------------------------------------


async def test_attempts_are_counted_by_address_and_come_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(door_module, "monotonic", lambda: now)
    admission = admission_of(settings_of(rate_connections_per_second=2, rate_connections_burst=2))
    assert [await refusal(admission, caller(token())) for _ in range(3)] == [None, None, 429]
    assert await refusal(admission, caller(token(), peer="192.0.2.2")) is None
    assert await refusal(admission, caller(token()), resuming=True) is None
    now += 0.5
    assert [await refusal(admission, caller(token())) for _ in range(2)] == [None, 429]


@pytest.mark.parametrize(("per_second", "status"), [(None, None), (1.0, 429)])
async def test_loopback_is_exempt_unless_a_rate_is_set(per_second: float | None, status: int | None) -> None:
    admission = admission_of(settings_of(rate_connections_per_second=per_second, rate_connections_burst=1))
    for address in ("127.0.0.1", "::1"):
        assert await refusal(admission, caller(token(), peer=address)) is None
        assert await refusal(admission, caller(token(), peer=address)) == status


@pytest.mark.parametrize(("trusted", "believed"), [("", False), ("10.0.0.0/8", True), ("192.168.0.0/16", False)])
async def test_a_forwarded_address_is_believed_only_from_a_trusted_proxy(trusted: str, believed: bool) -> None:
    settings = settings_of(trusted_proxies=trusted, rate_connections_per_second=1, rate_connections_burst=1)
    admission = admission_of(settings)
    one = caller(token(), peer="10.0.0.1", forwarded=("198.51.100.1",))
    two = caller(token(), peer="10.0.0.1", forwarded=("198.51.100.2",))
    assert await refusal(admission, one) is None
    assert await refusal(admission, two) == (None if believed else 429)
    assert await refusal(admission, one) == 429
    invented = caller(token(), peer="10.0.0.1", forwarded=("203.0.113.9, 198.51.100.1",))
    assert await refusal(admission, invented) == 429, "what the client wrote before the proxy is not believed"


# -- sign-in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "bearer", "status"),
    [
        (SIGNED, token(), None),
        (SIGNED, token(algorithm="HS512"), None),
        (SIGNED, token(exp=1), 401),
        (SIGNED, token("another key of this test that is long enough"), 401),
        (SIGNED, "no.token.atall", 401),
        (SIGNED, UNSIGNED, 401),
        (SIGNED, token(sub=""), 401),
        (SIGNED, token(sub="a" * 256), None),
        (SIGNED, token(sub="a" * 257), 401),
        (SIGNED, token(sub="ann\nbob"), 401),
        (SIGNED, jwt.encode({"exp": LATER}, KEY, "HS256"), 401),
        (SIGNED, None, 401),
        (settings_of(jwt_audience="us"), token(aud="us"), None),
        (settings_of(jwt_audience="us"), token(aud=["them", "us"]), None),
        (settings_of(jwt_audience="us"), token(aud="them"), 401),
        (settings_of(jwt_audience="us"), token(), 401),
        (SIGNED, token(aud="anybody"), None),
        (settings_of(jwt_issuer="https://id.example"), token(iss="https://id.example"), None),
        (settings_of(jwt_issuer="https://id.example"), token(iss="https://evil.example"), 401),
        (settings_of(jwt_issuer="https://id.example"), token(), 401),
    ],
)
async def test_a_token_is_checked(settings: Settings, bearer: str | None, status: int | None) -> None:
    assert await refusal(admission_of(settings), caller(bearer)) == status


async def test_a_token_says_who_it_is_and_until_when() -> None:
    identity = await admission_of().admit(caller(token()), socket=True)
    assert (identity.user_id, identity.thread_id, identity.expires_at) == ("ann", "t-ann", LATER + SKEW_S)


async def test_a_browser_brings_its_token_as_a_subprotocol() -> None:
    encoded = base64.urlsafe_b64encode(token().encode()).decode().rstrip("=")
    identity = await admission_of().admit(caller(subprotocols=("chat", f"jwt.{encoded}")), socket=True)
    assert identity.user_id == "ann"
    assert await refusal(admission_of(), caller(subprotocols=("jwt.%%%",))) == 401
    assert await refusal(admission_of(), caller(subprotocols=("jwt.w7w",))) == 401
    assert await refusal(admission_of(), caller(subprotocols=("chat",))) == 401


@pytest.mark.parametrize(
    ("query", "status"),
    [({"user": "ann"}, None), ({}, 401), ({"user": ""}, 401), ({"user": "a\x00b"}, 401), ({"user": "ä" * 257}, 401)],
)
async def test_without_sign_in_the_query_says_who_it_is(query: dict[str, str], status: int | None) -> None:
    assert await refusal(admission_of(Settings()), caller(query=query)) == status


async def test_the_query_does_not_sign_anybody_in_when_tokens_do() -> None:
    assert await refusal(admission_of(), caller(query={"user": "ann"})) == 401


async def test_a_thread_must_be_its_owner_s() -> None:
    assert await refusal(admission_of(), caller(token(), query={"thread": "t-ann"})) is None
    assert await refusal(admission_of(), caller(token(), query={"thread": "t-bob"})) == 403


# -- full -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_user", "socket", "resuming", "status"),
    [(2, True, False, None), (3, True, False, 429), (3, False, False, None), (3, True, True, None)],
)
async def test_a_user_has_so_many_sockets(of_user: int, socket: bool, resuming: bool, status: int | None) -> None:
    admission = admission_of(occupancy=FixedOccupancy(of_user=of_user))
    assert await refusal(admission, caller(token()), socket=socket, resuming=resuming) == status


async def test_a_cell_that_filled_while_sockets_were_asked_is_full() -> None:
    class Filling(FixedOccupancy):
        def sockets_of(self, user_id: str) -> list[ClientSocket]:
            asked = super().sockets_of(user_id)
            self.size, self.of_user = 1, max(0, self.of_user - 3)
            return asked

    occupancy = Filling(of_user=6)
    assert await refusal(admission_of(settings_of(max_sessions=1), occupancy), caller(token())) == 503
    assert occupancy.of_user == 0, "the sockets were asked"


async def test_a_refusal_has_words_for_the_client_and_no_secret_in_them() -> None:
    with pytest.raises(AdmissionRefused) as caught:
        await admission_of().admit(caller(token(exp=1)), socket=True)
    assert caught.value.words == "the token has expired"


@pytest.fixture(scope="module")
def key_pair() -> tuple[str, str]:
    """A private key and its public half, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private.decode(), key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_a_public_key_verifies_what_its_private_half_signed(key_pair: tuple[str, str]) -> None:
    private, public = key_pair
    admission = admission_of(settings_of(jwt_key=public))
    assert await refusal(admission, caller(bearer=token(private, "RS256"))) is None
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert await refusal(admission, caller(bearer=token(pem, "RS256"))) == 401


async def test_a_public_key_is_never_taken_for_an_hmac_secret(key_pair: tuple[str, str]) -> None:
    """The classic confusion: everybody knows the public key, so nobody may sign with it as a secret."""
    _, public = key_pair
    forged = _hmac_token(public)
    assert await refusal(admission_of(settings_of(jwt_key=public)), caller(bearer=forged)) == 401


def _hmac_token(secret: str) -> str:
    """HS256 by hand: PyJWT refuses to sign with a public key."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(b'{"sub":"ann","exp":%d}' % LATER)
    return (signed + b"." + part(hmac.digest(secret.encode(), signed, "sha256"))).decode()
