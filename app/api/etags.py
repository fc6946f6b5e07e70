"""Entity tags (RFC 9110, section 8.8.3): the revision as one, and what `If-Match` and `If-None-Match` say of it.

A tag that was weakened on its way (`W/"7"`) names the same revision: balancers that compress an answer weaken its tag,
and a client sends back what it got.
"""

from __future__ import annotations

import re
from typing import Final

from litestar.exceptions import ClientException

ANY: Final = "*"
_TAG: Final = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)|\s*,')
_REVISION: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_SHOWN_CHARACTERS: Final = 40


def etag_of(revision: int) -> str:
    """The tag of a revision, as it is sent."""
    return f'"{revision}"'


def parse_etags(header: str) -> list[str] | None:
    """The tags of a list without their quotes, weak or not, or `*` alone; None: it is no such list."""
    if header.strip() == ANY:
        return [ANY]
    tags: list[str] = []
    at = 0
    while at < len(header):
        match = _TAG.match(header, at)
        if match is None:
            return None
        if match[1] is not None:
            tags.append(match[1])
        at = match.end()
    return tags or None


def revision_of(header: str | None, current: int) -> int | None:
    """The revision in an `If-Match` header; of several, the `current` one if it is among them, else the newest.

    None: there is no header. Raises ClientException if it names no revision; `*` names none.
    """
    if header is None:
        return None
    revisions = [int(tag) for tag in parse_etags(header) or () if _REVISION.fullmatch(tag)]
    if not revisions:
        shown = header[:_SHOWN_CHARACTERS]
        raise ClientException(detail=f'If-Match must be a revision in quotes, such as "7", not {shown!r}')
    return current if current in revisions else max(revisions)


def unchanged(if_none_match: str | None, revision: int) -> bool:
    """Whether the sender of an `If-None-Match` header has this revision already."""
    return bool({ANY, str(revision)} & set(parse_etags(if_none_match or "") or ()))
