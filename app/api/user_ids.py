"""User ids in addresses: any printable text, including slashes, which a router would take for the end of the id."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import unquote

from litestar.enums import ScopeType
from litestar.exceptions import ValidationException
from litestar.params import PathParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from app.gateway.admission import USER_ID_CHARACTERS

USERS: Final = "/api/users/"
_SLASH: Final = re.compile("%2f", re.IGNORECASE)
_MARK: Final = "\ue02f"
"""Stands for an encoded slash on its way through the router; a private-use character, which no user id has."""
UserId = Annotated[
    str, PathParameter(min_length=1, max_length=USER_ID_CHARACTERS, description="printable characters, encoded")
]


def keep_slashes(app: ASGIApp) -> ASGIApp:
    """Wraps the router so that an encoded slash in a user's address stays a part of the id."""

    async def keeping(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith(USERS):
            raw = scope["raw_path"].partition(b"?")[0].decode("latin-1")
            scope["path"] = _MARK.join(unquote(part) for part in _SLASH.split(raw))
        await app(scope, receive, send)

    return keeping


def user_id_of(parameter: str) -> str:
    """The user id in an address. Raises ValidationException for an id that no user can have."""
    user_id = parameter.replace(_MARK, "/")
    if not user_id.isprintable():
        raise ValidationException(detail=f"a user id must have 1..{USER_ID_CHARACTERS} printable characters")
    return user_id
