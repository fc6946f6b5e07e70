"""The keys that check clients' tokens: read from a setting, or from a key set that an issuer publishes (RFC 7517).

What is read here can be used: a key that would refuse every token is not accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import httpx
import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import HMACAlgorithm

from app.errors import CrossfadeError

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

ALLOWED = "an HMAC secret, or the PEM of an RSA, EC or Ed25519 public key (its newlines may be written as \\n)"
MOST_KEYS = 100
"""Of one key set. Issuers publish a handful."""
_HMAC = ("HS256", "HS384", "HS512")
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}


class UnusableKeys(CrossfadeError):
    """A key, or a set of keys, cannot check any token; the text says why, without quoting it."""


class VerificationKey(NamedTuple):
    """A key, and the algorithms (RFC 7518) for which it may be used. `name`: the issuer's `kid`, None: it has none."""

    name: str | None
    key: AllowedPublicKeys | str
    algorithms: tuple[str, ...]


def key_of_setting(text: str) -> VerificationKey:
    """The key in `CROSSFADE_JWT_KEY`. Raises `UnusableKeys`."""
    if "-----BEGIN" not in text:
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(text)
        except jwt.PyJWTError:
            raise UnusableKeys("is a key in another format than PEM") from None
        return VerificationKey(None, text, _HMAC)
    pem = text.strip().replace("\\r", "").replace("\\n", "\n")
    kind = pem.partition("-----BEGIN")[2].partition("-----")[0].strip()
    if "PRIVATE KEY" in kind:
        raise UnusableKeys("is a private key, which only the issuer of the tokens may have")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableKeys(f"is no PEM of a public key that can be read ({kind.lower() or 'nothing'})") from None
    algorithms = _algorithms_of(key)
    if not algorithms:
        raise UnusableKeys("is a public key of a kind that signs no tokens")
    return VerificationKey(None, key, algorithms)  # type: ignore[arg-type]  # one of those with algorithms


def keys_of_jwks(content: bytes) -> tuple[VerificationKey, ...]:
    """The keys of a published set with which tokens can be checked; all others are passed over.

    Secret and private keys are passed over, too: whoever can read the set could sign with them. Raises `UnusableKeys`.
    """
    try:
        entries = msgspec.json.decode(content)["keys"]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise UnusableKeys("the answer is not JSON") from None
    except (KeyError, TypeError):
        raise UnusableKeys("the answer is no JSON Web Key Set") from None
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise UnusableKeys(f"`keys` must be a list of at most {MOST_KEYS} keys")
    keys = tuple(_usable(entries))
    if not keys:
        raise UnusableKeys("no key in the answer can check tokens")
    return keys


def why_not_address(url: str) -> str | None:
    """What is wrong with the address of a key set; None: nothing."""
    if any(character.isspace() for character in url):
        return "has spaces in it"
    try:
        read = httpx.URL(url)
    except httpx.InvalidURL:
        return "cannot be read"
    if read.scheme not in ("http", "https") or not read.host:
        return "is no http(s) address"
    if read.port is not None and not 0 < read.port < 65_536:
        return "has a port that is not 1..65535"
    return "has a user or a password in it" if read.userinfo else None


def _usable(entries: Iterable[object]) -> Iterable[VerificationKey]:
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "verify" not in _operations(entry):
            continue
        name, algorithm = entry.get("kid"), entry.get("alg")
        try:
            key = jwt.PyJWK(entry).key
        except (jwt.PyJWTError, ValueError, TypeError, LookupError, OverflowError, UnsupportedAlgorithm):
            continue  # of a kind that is not known here
        algorithms = tuple(each for each in _algorithms_of(key) if algorithm in (None, each))
        if algorithms:
            yield VerificationKey(name if isinstance(name, str) else None, key, algorithms)


def _operations(entry: dict[str, object]) -> list[object]:
    operations = entry.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else []


def _algorithms_of(key: object) -> tuple[str, ...]:
    if isinstance(key, RSAPublicKey):
        return _RSA
    if isinstance(key, EllipticCurvePublicKey):
        return _BY_CURVE.get(key.curve.name, ())
    return ("EdDSA",) if isinstance(key, Ed25519PublicKey | Ed448PublicKey) else ()
