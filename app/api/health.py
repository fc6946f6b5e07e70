"""The endpoints for machines, without sign-in: alive, ready, metrics. They say nothing about users."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State

from app.api.services import TheServices


@get("/healthz", tags=["health"], summary="Whether the process answers")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@get("/readyz", tags=["health"], summary="Whether v2 serves and the record is known and kept, in the cell that answers")
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
    tags=["health"],
    summary="Metrics, as Prometheus text or as OpenMetrics, depending on `Accept`",
    media_type="text/plain",
)
async def metrics(request: Request[Any, Any, State], services: TheServices) -> Response[bytes]:
    body, content_type = services.metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type}, status_code=200)
