"""The endpoints for machines, without sign-in: alive, ready, metrics. They say nothing about users."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get
from litestar.datastructures import State

from app.api.services import TheServices

NO_COOKIE: Final = {"exclude_from_csrf": True}
"""A program reads these: it has no form, so it needs no token against forged ones."""


@get("/healthz", opt=NO_COOKIE, tags=["health"], summary="Whether the process answers")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@get(
    "/readyz",
    opt=NO_COOKIE,
    tags=["health"],
    summary="Whether v2 serves and the record is known and kept, in the cell that answers",
)
async def readyz(services: TheServices) -> Response[dict[str, str]]:
    cell = services.control.cell.name
    reason = services.control.not_ready
    if not reason:
        return Response({"status": "ready", "cell": cell}, status_code=200)
    return Response(
        {"status": "not ready", "cell": cell, "reason": reason}, status_code=503, headers={"Retry-After": "1"}
    )


@get(
    "/metrics",
    opt=NO_COOKIE,
    tags=["health"],
    summary="Metrics, as Prometheus text or as OpenMetrics, depending on `Accept`",
    media_type="text/plain",
)
async def metrics(request: Request[Any, Any, State], services: TheServices) -> Response[bytes]:
    body, content_type = await services.metrics.scrape(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type}, status_code=200)
