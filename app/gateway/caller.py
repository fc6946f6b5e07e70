"""What the routes for WebSocket and HTTP clients share: who calls, and the answer when the caller is not let in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from litestar.connection import ASGIConnection

from app.gateway.admission import AdmissionRefused, Caller
from app.problem import MEDIA_TYPE, encode_problem, problem_of

_RETRY_LATER = frozenset({429, 503})


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """What a connection says of itself."""
    client = connection.client
    return Caller(
        peer=client.host if client else "",
        headers=connection.headers,
        query=connection.query_params,
        subprotocols=cast("Sequence[str]", connection.scope.get("subprotocols", ())),
    )


def refusal_of(refused: AdmissionRefused) -> tuple[dict[str, str], bytes]:
    """Headers and body of the answer, a problem document."""
    headers = {"content-type": MEDIA_TYPE}
    if refused.status in _RETRY_LATER:
        headers["retry-after"] = str(refused.retry_after_s)
    return headers, encode_problem(problem_of(refused.status, refused.words, refused.kind, refused.title))
