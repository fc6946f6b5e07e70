"""Problem details (RFC 9457): the one shape in which a request over HTTP is refused, by the API and by the gateway."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

MEDIA_TYPE = "application/problem+json"
_PREFIX = "urn:crossfade:"
# Kind and title by status, where nothing more is known than the status.
_BY_STATUS: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "Bad request"),
    401: ("not_signed_in", "Not signed in"),
    403: ("not_allowed", "Not allowed"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Method not allowed"),
    408: ("too_slow", "Too slow"),
    413: ("too_large", "Too large"),
    414: ("too_large", "Too large"),
    415: ("unsupported_media_type", "Unsupported media type"),
    421: ("unknown_host", "Unknown host"),
    422: ("bad_value", "Bad value"),
    426: ("upgrade_required", "Upgrade required"),
    429: ("rate_limited", "Too many requests"),
    431: ("too_large", "Too large"),
    503: ("full", "The service is full"),
}


class Problem(Struct, frozen=True):
    """The members that every refusal has; some have more."""

    status: int
    type: str
    """`urn:crossfade:` and the kind of refusal, which programs can tell apart."""
    title: str
    """The kind in words."""
    detail: str
    """What was wrong this time and what is allowed."""


def problem_of(status: int, detail: str, kind: str = "", title: str = "") -> Problem:
    """A problem of this kind; without a kind, of the usual one for the status."""
    usual_kind, usual_title = _BY_STATUS.get(status, ("refused", "Refused"))
    return Problem(status, _PREFIX + (kind or usual_kind), title or usual_title, detail)


def encode_problem(problem: Problem, extra: Mapping[str, object] | None = None) -> bytes:
    """The document as JSON, with members beyond the usual ones."""
    return msgspec.json.encode({**msgspec.structs.asdict(problem), **(extra or {})})
