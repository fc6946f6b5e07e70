"""A page of another origin can change nothing with somebody's cookie, whatever it knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from litestar.connection import ASGIConnection
from litestar.routes import HTTPRoute

from app.api.access import proxies_of
from app.api.csrf import FOREIGN_ORIGIN, HEADER
from app.gateway.addresses import parse_address
from app.settings import Settings
from tests.api.service import COOKIES, Service, make_app, serve
from tests.api.test_sign_in import sign_in

OWN = "http://testserver.local"
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://testserver.local.evil.example"},
    {"Origin": "http://testserver.local:8001"},
    {"Origin": "testserver.local"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
]
HOME: list[dict[str, str]] = [
    {},
    {"Origin": OWN},
    {"Sec-Fetch-Site": "same-origin", "Origin": OWN},
    {"Sec-Fetch-Site": "none"},
]


def calls(service: Service) -> Iterator[tuple[str, str]]:
    """Everything registered that is not a mere look: method and path."""
    for route in make_app(service.world, service.access).routes:
        if isinstance(route, HTTPRoute):
            for method in sorted(route.methods - {"GET", "HEAD", "OPTIONS"}):
                yield method, "".join(f"/{part}" if isinstance(part, str) else "/v2" for part in route.path_components)


async def test_every_call_that_changes_something_is_refused_to_another_origin(service: Service) -> None:
    token = await sign_in(service)
    before = service.world.control.record
    refused = set()
    for method, path in calls(service):
        for headers in FOREIGN:
            answer = await service.client.request(method, path, headers={HEADER: token, **headers})
            assert (answer.status_code, answer.json()["detail"]) == (403, FOREIGN_ORIGIN), (method, path, headers)
        refused.add(f"{method} {path}")
    verbs = ("start", "percentage", "promote", "pause", "resume", "rollback", "undo", "unlock", "notes")
    assert {f"POST /api/rollout/{verb}" for verb in verbs} <= refused
    others = {"PUT /api/rollout/plan", "PUT /api/users/v2/pin", "DELETE /api/users/v2/pin", "POST /api/paths/v3/load"}
    pages = {"POST /act/v2", "POST /pins", "POST /notes", "POST /sign-in/token", "POST /sign-out"}
    assert others | pages | {"POST /api/hooks/alertmanager"} <= refused
    assert service.world.control.record == before
    assert (await service.client.get("/api/rollout")).status_code == 200, "still signed in"


@pytest.mark.parametrize("headers", HOME)
async def test_the_services_own_pages_are_let_in(service: Service, headers: dict[str, str]) -> None:
    token = await sign_in(service)
    answer = await service.client.post("/api/rollout/rollback", headers={HEADER: token, **headers})
    assert (answer.status_code, answer.json()["phase"]) == (200, "rolled_back")
    assert (await service.client.post("/sign-out", headers={HEADER: token, **headers})).status_code == 303


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_bearer_token_is_no_cookie_and_counts_from_anywhere(service: Service, headers: dict[str, str]) -> None:
    answer = await service.client.post("/api/rollout/rollback", headers={**service.as_("oncall"), **headers})
    assert answer.status_code == 200


@pytest.mark.parametrize(("peer", "status"), [("10.1.2.3", 200), ("192.0.2.1", 403)])
async def test_the_name_that_a_browser_knows_is_believed_from_a_trusted_proxy_only(
    tmp_path: Path, peer: str, status: int
) -> None:
    async with serve(tmp_path, proxies_of(Settings(trusted_proxies="10.0.0.0/8")), peer) as service:
        await sign_in(service)
        headers = {
            "Origin": "https://crossfade.example",
            "X-Forwarded-Host": "crossfade.example",
            HEADER: service.client.cookies[COOKIES.csrf],
        }
        assert (await service.client.post("/api/rollout/rollback", headers=headers)).status_code == status


async def test_an_action_is_recorded_with_the_address_of_the_browser(tmp_path: Path) -> None:
    """Through a trusted proxy the client's, else the peer's, whatever is written into the header."""
    for peer, source in (("10.1.2.3", "198.51.100.7"), ("192.0.2.1", "192.0.2.1")):
        folder = tmp_path / peer
        folder.mkdir()
        async with serve(folder, proxies_of(Settings(trusted_proxies="10.0.0.0/8")), peer) as service:
            sent = {"X-Forwarded-For": "203.0.113.1, 198.51.100.7"}
            token = await sign_in(service)
            form = {"_csrf_token": token, "reason": "r", "text": "seen", "user_id": "u1", "path": "v3", "revision": "0"}
            for path in ("/act/start", "/act/rollback", "/notes", "/pins"):
                assert (await service.client.post(path, data=form, headers=sent)).status_code == 303, path
            await service.client.post("/api/rollout/notes", json={"text": "x"}, headers={**sent, HEADER: token})
            api = {**service.as_("oncall"), **sent}
            await service.client.post("/api/rollout/notes", json={"text": "x"}, headers=api)
            cli = {**api, "User-Agent": "crossfade-cli"}
            await service.client.post("/api/rollout/notes", json={"text": "x"}, headers=cli)
            entries = (await service.world.control.repository.events()).items[::-1]
            kinds = ["page"] * 5 + ["api", "cli"]
            assert [entry.source for entry in entries] == [f"{kind} {source}" for kind in kinds]


async def test_limits_by_address_count_the_network_of_an_ipv6_client(tmp_path: Path) -> None:
    async with serve(tmp_path, proxies_of(Settings(trusted_proxies="10.0.0.0/8")), "10.1.2.3") as service:

        async def client_of(forwarded: str) -> str:
            headers = [(b"authorization", service.as_("viewer")["Authorization"].encode())]
            headers.append((b"x-forwarded-for", forwarded.encode()))
            scope = {"type": "http", "headers": headers, "client": ("10.1.2.3", 1), "query_string": b""}
            visitor = await service.access.visitor(ASGIConnection(cast("Any", scope)))
            assert visitor is not None
            assert visitor.source == f"api {parse_address(forwarded)}"
            return visitor.client

        assert await client_of("[2001:db8::1]:4711") == await client_of("2001:db8::2") == "2001:db8::/64"
        assert await client_of("198.51.100.7:4711") == "198.51.100.7"
