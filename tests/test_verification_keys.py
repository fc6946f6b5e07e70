"""Which keys of a setting and of a published set can check tokens, and what is said of all others."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.errors import SettingError
from app.settings_reader import load_settings
from app.verification_keys import MOST_KEYS, UnusableKeys, key_of_setting, keys_of_jwks, why_not_address

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()


def public_pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private_pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return str(key.private_bytes(Encoding.PEM, form, NoEncryption()).decode())


# -- the setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("private", "algorithm"), [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES384"), (ED, "EdDSA")])
@pytest.mark.parametrize("newline", ["\n", "\\n", "\\r\\n", "\r\n"])
def test_a_public_key_checks_with_newlines_of_any_kind(private: Any, algorithm: str, newline: str) -> None:
    key = key_of_setting(public_pem(private).replace("\n", newline))
    token = jwt.encode({"sub": "ann"}, private, algorithm)
    assert jwt.decode(token, key.key, algorithms=key.algorithms)["sub"] == "ann"


def test_a_secret_checks_hmac_alone() -> None:
    key = key_of_setting("a secret with \\n in it, which stays what it is")
    assert (key.key, key.algorithms) == (
        "a secret with \\n in it, which stays what it is",
        ("HS256", "HS384", "HS512"),
    )


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SSH = EC.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
BAD_KEYS = [
    (private_pem(RSA), "is a private key"),
    (private_pem(RSA).replace("\n", "\\n"), "is a private key"),
    (private_pem(RSA, PrivateFormat.TraditionalOpenSSL), "is a private key"),
    (private_pem(EC, PrivateFormat.TraditionalOpenSSL), "is a private key"),
    (private_pem(ED, PrivateFormat.OpenSSH), "is a private key"),
    (CERTIFICATE, "no PEM of a public key that can be read (certificate)"),
    (public_pem(RSA)[:-60], "no PEM of a public key that can be read"),
    ("-----BEGIN", "no PEM of a public key that can be read"),
    (SSH, "another format than PEM"),
    (public_pem(x25519.X25519PrivateKey.generate()), "signs no tokens"),
    (public_pem(ec.generate_private_key(ec.SECP224R1())), "signs no tokens"),
]


@pytest.mark.parametrize(("text", "said"), BAD_KEYS)
def test_a_key_that_would_refuse_everybody_stops_the_start_with_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        load_settings({"CROSSFADE_CLIENT_AUTH": "jwt", "CROSSFADE_JWT_KEY": text}, tmp_path / "none")
    words = str(caught.value)
    assert words.startswith("CROSSFADE_JWT_KEY=")
    assert said in words
    assert "allowed: an HMAC secret, or the PEM of" in words
    assert "\n" not in words
    assert (text[30:40] or text) not in words.removeprefix("CROSSFADE_JWT_KEY='…': "), "nothing of the key is repeated"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "is no http(s) address"),
        ("issuer.example/keys", "is no http(s) address"),
        ("https://", "is no http(s) address"),
        ("ftp://issuer.example/", "is no http(s) address"),
        ("http://[::1", "cannot be read"),
        ("http://issuer:port/", "cannot be read"),
        ("http://issuer:99999/", "port that is not 1..65535"),
        ("http://issuer:0/", "port that is not 1..65535"),
        ("http://me:hunter2@issuer/", "has a user or a password in it"),
        (" https://issuer.example/", "has spaces in it"),
        ("https://issuer.example/\n", "allowed: printable characters"),
    ],
)
def test_an_address_of_keys_that_is_none_stops_the_start_with_one_line(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        load_settings({"CROSSFADE_CLIENT_AUTH": "jwt", "CROSSFADE_JWKS_URL": url}, tmp_path / "none")
    words = str(caught.value)
    assert words.startswith("CROSSFADE_JWKS_URL=")
    assert said in words
    assert "\n" not in words
    assert "hunter2" not in words


@pytest.mark.parametrize("url", ["https://issuer.example/keys?v=1", "http://[::1]:8080/", "https://bücher.example/k"])
def test_an_address_that_is_one_is_taken(url: str) -> None:
    assert why_not_address(url) is None


# -- a published set --------------------------------------------------------------------------------------------------


def entry(key: Any, **members: Any) -> dict[str, Any]:
    algorithm = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    kind: Any = next((a for k, a in algorithm.items() if isinstance(key, k)), OKPAlgorithm)
    return dict(kind.to_jwk(key.public_key(), as_dict=True)) | members


@pytest.mark.parametrize(("private", "algorithm"), [(RSA, "RS512"), (RSA, "PS256"), (EC, "ES384"), (ED, "EdDSA")])
@pytest.mark.parametrize("named", [True, False])
def test_a_key_is_good_for_its_algorithm_and_without_one_for_all_of_its_kind(
    private: Any, algorithm: str, named: bool
) -> None:
    members = {"kid": "k", "use": "sig"} | ({"alg": algorithm} if named else {})
    [key] = keys_of_jwks(json.dumps({"keys": [entry(private, **members)]}).encode())
    assert key.name == "k"
    assert jwt.decode(jwt.encode({}, private, algorithm), key.key, algorithms=key.algorithms) == {}
    assert (key.algorithms == (algorithm,)) is (named or private is not RSA)


PRIVATE = dict(ECAlgorithm.to_jwk(EC, as_dict=True))
SECRET = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 64).decode(), "alg": "HS256"}
PASSED_OVER: list[Any] = [
    PRIVATE,
    SECRET,
    {"kty": "quantum"},
    {},
    "text",
    7,
    None,
    entry(EC, use="enc"),
    entry(EC, key_ops=["sign"]),
    entry(EC, key_ops=7),
    entry(EC, alg="ES256"),
    entry(EC, alg="HS256"),
    entry(EC, alg=["ES384"]),
    entry(EC, crv="P-256"),
    entry(EC, x="AAAA"),
    entry(EC, x=7),
    entry(RSA, n=""),
]


@pytest.mark.parametrize("other", PASSED_OVER, ids=range(len(PASSED_OVER)))
def test_what_checks_no_tokens_is_passed_over(other: Any) -> None:
    good = entry(EC, kid="good")
    assert [key.name for key in keys_of_jwks(json.dumps({"keys": [other, good, other]}).encode())] == ["good"]
    with pytest.raises(UnusableKeys):
        keys_of_jwks(json.dumps({"keys": [other]}).encode())


def test_a_set_has_a_bound() -> None:
    one = entry(EC)
    assert len(keys_of_jwks(json.dumps({"keys": [one] * MOST_KEYS}).encode())) == MOST_KEYS
    with pytest.raises(UnusableKeys, match="at most 100"):
        keys_of_jwks(json.dumps({"keys": [one] * (MOST_KEYS + 1)}).encode())
