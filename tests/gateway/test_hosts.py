"""Under which names a service may be called, by its settings; a page cannot bring its own name."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.types import Message

from app.gateway.hosts import known_hosts, refuse_unknown_hosts
from app.settings import Settings

OPEN = Settings()
NAMED = Settings(hosts="Crossfade.example, 192.0.2.9")
KEY = {"client_auth": "jwt", "jwt_key": "k" * 64}
PUBLIC = Settings(bind="0.0.0.0:80", **KEY)  # type: ignore[arg-type]
PUBLIC_NAMED = Settings(bind="0.0.0.0:80", hosts="crossfade.example", **KEY)  # type: ignore[arg-type]
PROXIED = Settings(hosts="crossfade.example", trusted_proxies="127.0.0.1")


async def asked(settings: Settings, headers: dict[str, str], kind: str = "http", peer: str = "127.0.0.1") -> int:
    """The status of the answer."""
    sent: list[Message] = []

    async def app(*_: object) -> None:
        sent.append(cast("Message", {"type": "http.response.start", "status": 200}))

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    scope = {"type": kind, "path": "/", "headers": raw, "client": (peer, 1)}
    await refuse_unknown_hosts(cast("Any", app), settings)(cast("Any", scope), cast("Any", None), send)
    first = cast("dict[str, Any]", sent[0])
    prefix = {"http": "http", "websocket": "websocket.http"}[kind]
    assert first["type"] == (f"{prefix}.response.start" if first["status"] != 200 else "http.response.start")
    return int(first["status"])


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        (OPEN, "127.0.0.1:8000", 200),
        (OPEN, "127.9.9.9", 200),
        (OPEN, "localhost:8000", 200),
        (OPEN, "LOCALHOST", 200),
        (OPEN, "app.localhost", 200),
        (OPEN, "[::1]:8000", 200),
        (OPEN, "evil.example", 421),
        (OPEN, "localhost.evil.example", 421),
        (OPEN, "127.0.0.1.evil.example", 421),
        (OPEN, "192.0.2.9", 421),
        (OPEN, "evil.example@localhost", 421),
        (OPEN, "localhost, evil.example", 421),
        (NAMED, "crossfade.EXAMPLE:443", 200),
        (NAMED, "192.0.2.9", 200),
        (NAMED, "localhost", 200),
        (NAMED, "a.crossfade.example", 421),
        (PUBLIC, "evil.example", 200),
        (PUBLIC_NAMED, "crossfade.example", 200),
        (PUBLIC_NAMED, "10.1.2.3:80", 200),  # a probe's
        (PUBLIC_NAMED, "evil.example", 421),
    ],
)
async def test_an_unknown_name_is_refused(settings: Settings, host: str, status: int, kind: str) -> None:
    assert await asked(settings, {"Host": host}, kind) == status


@pytest.mark.parametrize(
    ("headers", "peer", "status"),
    [
        ({"Host": "127.0.0.1:8000", "X-Forwarded-Host": "crossfade.example"}, "127.0.0.1", 200),
        ({"Host": "127.0.0.1:8000", "X-Forwarded-Host": "evil.example"}, "127.0.0.1", 421),
        ({"Host": "127.0.0.1:8000", "X-Forwarded-Host": "evil.example"}, "192.0.2.1", 200),
        # What a page of that name could send to a service that believes loopback.
        ({"Host": "evil.example", "X-Forwarded-Host": "crossfade.example"}, "127.0.0.1", 421),
        ({"Host": "evil.example", "Forwarded": "host=localhost"}, "127.0.0.1", 421),
        ({}, "127.0.0.1", 200),  # no browser
    ],
)
async def test_the_header_itself_counts_whatever_a_proxy_says(headers: dict[str, str], peer: str, status: int) -> None:
    assert await asked(PROXIED, headers, peer=peer) == status


@given(st.text(st.characters(max_codepoint=255), min_size=1))
async def test_any_text_is_refused_or_a_name_of_loopback(host: str) -> None:
    known = known_hosts(OPEN)
    assert known is not None
    assert await asked(OPEN, {"Host": host}) == (200 if known.knows(host) else 421)
