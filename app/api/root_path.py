"""The service under a path of somebody else's host, such as `https://ops.example/crossfade/`.

A proxy in front may remove that path from what it passes on or leave it there: both reach the same. Whatever the
service answers, its redirects included, names addresses with the path.
"""

from __future__ import annotations

from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.base.render import ROOT_PATH

OWN: Final = frozenset(
    {
        "act", "api", "changes", "errors", "healthz", "health", "history", "history.csv", "history.jsonl", "metrics",
        "notes", "pins", "plan", "preview", "readyz", "rollbacks", "schema", "sections", "sessions", "sign-in",
        "sign-out", "static", "try", "users", "ws",
    }
)  # fmt: skip
"""How addresses of our own begin; a path that begins so could not be told from them."""


def under_root_path(app: ASGIApp, root_path: str) -> ASGIApp:
    """Wraps an application so that it is also found under this path, and speaks of itself as being there."""
    if not root_path:
        return app
    prefix = root_path.encode()

    async def under(scope: Scope, receive: Receive, send: Send) -> None:
        _remove(scope, prefix)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [_moved(name, value, prefix) for name, value in message.get("headers", ())]
            await send(message)

        token = ROOT_PATH.set(root_path)
        try:
            await app(scope, receive, sending if scope["type"] == ScopeType.HTTP else send)
        finally:
            ROOT_PATH.reset(token)

    return under


def _remove(scope: Scope, prefix: bytes) -> None:
    """Take the path off an address that has it, in both of its spellings or in neither."""
    values: dict[str, Any] = scope  # type: ignore[assignment]
    raw, mark, query = (values.get("raw_path") or values["path"].encode("latin-1", "replace")).partition(b"?")
    if raw != prefix and not raw.startswith(prefix + b"/"):
        return
    values["raw_path"] = (raw[len(prefix) :] or b"/") + mark + query
    values["path"] = values["path"][len(prefix) :] or "/"


def _moved(name: bytes, value: bytes, prefix: bytes) -> tuple[bytes, bytes]:
    """A header as it is under the path; only `Location` differs, and only where it leads to ourselves."""
    own = name.lower() == b"location" and value.startswith(b"/") and not value.startswith(b"//")
    return name, prefix + value if own else value
