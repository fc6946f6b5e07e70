"""The headers of every page: nothing from another host, nothing inline, nothing framed, nothing cached."""

from __future__ import annotations

from typing import Any

from litestar import Response

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
SECURITY_HEADERS: dict[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def secured(response: Response[Any]) -> Response[Any]:
    """Add the headers to an answer, keeping one that it set itself."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def secure(response: Response[Any]) -> Response[Any]:
    """`secured` for `after_request`.

    A coroutine, although it waits for nothing: Litestar calls plain functions in the default executor, where a page
    would wait for whoever has filled it.
    """
    return secured(response)
