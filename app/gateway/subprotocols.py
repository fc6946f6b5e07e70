"""The subprotocols of a handshake (RFC 6455, section 1.9): one may carry a browser's token, another is answered.

The answer stands in logs of proxies and in the page's `WebSocket.protocol`, so a token is never in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

TOKEN_PREFIX = "jwt."  # noqa: S105 - what stands before a token
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""A token in the words of RFC 9110, section 5.6.2."""


def token_in(offered: Sequence[str]) -> str | None:
    """The JWT in `jwt.<base64url(JWT)>`; None: there is none. Raises `ValueError` for one that cannot be decoded."""
    for name in offered:
        if name.startswith(TOKEN_PREFIX):
            encoded = name.removeprefix(TOKEN_PREFIX)
            padded = encoded + "=" * (-len(encoded) % 4)
            return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    return None


def chosen_from(offered: Sequence[str]) -> str | None:
    """The first that carries no token; None: there is none.

    A browser that offered any fails the connection when none is chosen, so browsers offer a name beside their token.
    """
    return next((name for name in offered if not name.startswith(TOKEN_PREFIX) and _NAME.fullmatch(name)), None)
