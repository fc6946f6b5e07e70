"""Thread ids that contain a keyed digest of their owner, so that ownership can be checked without a store."""

from __future__ import annotations

import hmac
import secrets
from hashlib import blake2b

_PERSON = b"crossfade-thread"
_NONCE_BYTES = 8
_DIGEST_BYTES = 12


def new_thread_id(user_id: str, secret: bytes) -> str:
    """A new id of the form `t-<nonce>-<digest>`, owned by `user_id`. Raises `ValueError` for an empty secret."""
    nonce = secrets.token_hex(_NONCE_BYTES)
    return f"t-{nonce}-{_digest(user_id, nonce, secret)}"


def owns_thread(user_id: str, thread_id: str, secret: bytes) -> bool:
    """Whether `thread_id` was made for `user_id` with this secret; compared in constant time."""
    prefix, _, rest = thread_id.partition("-")
    nonce, _, digest = rest.partition("-")
    if prefix != "t" or len(nonce) != 2 * _NONCE_BYTES:
        return False
    # As bytes: hmac compares only ASCII text, and a client may send any text.
    return hmac.compare_digest(digest.encode(), _digest(user_id, nonce, secret).encode())


def _digest(user_id: str, nonce: str, secret: bytes) -> str:
    if not secret:
        raise ValueError("the secret of thread ids is empty")
    key = secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest()
    # The nonce has a fixed length, so different pairs of nonce and user never give the same text.
    return blake2b(f"{nonce}{user_id}".encode(), digest_size=_DIGEST_BYTES, key=key, person=_PERSON).hexdigest()
