"""What holds for every route: HEAD is answered wherever GET is, and a body over its bound is refused unread."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import select

from app.api.body_limits import ALERTS_BYTES, BODY_BYTES, PLAN_BYTES, SIGN_IN_BYTES
from app.store.tables import METADATA
from dashboards.plan import PLAN_FORM_BYTES
from tests.api.service import COOKIES, Service, make_app

FILLED = {"user_id": "u1", "rollback_id": "9-0", "cell": "b", "verb": "rollback", "name": "overview", "path": "v3"}
LIMITS = {
    "POST /sign-in/token": SIGN_IN_BYTES,
    "POST /sign-out": SIGN_IN_BYTES,
    "POST /plan/check": PLAN_FORM_BYTES,
    "POST /plan/apply": PLAN_FORM_BYTES,
    "PUT /api/rollout/plan": PLAN_BYTES,
    "POST /api/hooks/alertmanager": ALERTS_BYTES,
}


def calls(app: Litestar, *methods: str) -> set[str]:
    """Method and address of every route, with something in the place of each parameter."""
    found = set()
    for route in app.routes:
        for handler in route.route_handlers if hasattr(route, "route_handlers") else ():
            if isinstance(handler, HTTPRouteHandler):
                found |= {f"{method} {_filled(route.path)}" for method in handler.http_methods if method in methods}
    return found


def _filled(path: str) -> str:
    parts = path.split("/")
    return "/".join(FILLED.get(part.strip("{}").partition(":")[0], "x") if "{" in part else part for part in parts)


@pytest.fixture
def app(service: Service) -> Litestar:
    return make_app(service.world, service.access)


async def test_head_is_answered_wherever_get_is(service: Service, app: Litestar) -> None:
    paths = {call.removeprefix("GET ") for call in calls(app, "GET")}
    assert {"/", "/plan", "/api/rollout", "/api/rollout/events", "/metrics", "/healthz", "/sign-in"} <= paths
    manager = service.as_("manager")
    streams = {"/changes"}
    assert streams < paths
    for path in sorted(paths - streams):
        got = await service.client.get(path, headers=manager)
        head = await service.client.head(path, headers=manager)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers.keys() == got.headers.keys(), path
        assert head.headers["content-type"] == got.headers["content-type"], path
    for path in streams:
        head = await service.client.head(path, headers=manager)
        assert (head.status_code, head.content) == (200, b""), path


async def test_opening_an_address_changes_nothing(service: Service, app: Litestar) -> None:
    """Previews, scanners and prefetching browsers open addresses, with the cookies of whoever is signed in."""
    await service.start(10)
    cookie = await service.access.sign_in_with_token(service.tokens["manager"], secure=False)
    assert cookie is not None
    service.client.cookies.set(COOKIES.session, str(cookie.value))
    before = await everything(service), service.world.control.record
    for call in sorted(calls(app, "GET", "HEAD", "OPTIONS")):
        method, _, path = call.partition(" ")
        if path == "/changes":
            method = "HEAD"  # a stream, which has no end
        assert (await service.client.request(method, path)).status_code != 500, call
    assert (await everything(service), service.world.control.record) == before


async def everything(service: Service) -> dict[str, list[object]]:
    """All rows of the store."""
    store = service.world.store
    found: dict[str, list[object]] = {}
    for group, metadata in METADATA.items():
        async with store.begin(store.lookups if group == "control" else store.sessions) as connection:
            for name, table in metadata.tables.items():
                found[name] = [
                    tuple(row) for row in await connection.execute(select(table).order_by(*table.primary_key))
                ]
    return found


async def test_head_where_get_is_not_is_refused(service: Service) -> None:
    assert (await service.client.head("/api/rollout/rollback", headers=service.as_("manager"))).status_code == 405
    assert (await service.client.head("/nowhere", headers=service.as_("manager"))).status_code == 404


async def test_a_body_over_its_bound_is_refused_before_it_is_read(service: Service, app: Litestar) -> None:
    asked = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked += 1
        yield b"a&" * 5_000_000

    signed_in = await service.client.get("/sign-in")
    form = "application/x-www-form-urlencoded"
    cookie = await service.access.sign_in_with_token(service.tokens["manager"], secure=False)
    assert cookie is not None
    service.client.cookies.set(COOKIES.session, str(cookie.value))
    assert signed_in.status_code == 200
    for call in sorted(calls(app, "POST", "PUT", "PATCH")):
        method, _, path = call.partition(" ")
        most = LIMITS.get(call, BODY_BYTES)
        headers = {"Content-Length": str(most + 1)}
        if path.startswith("/api/"):
            headers |= {"Content-Type": "application/json", **service.as_("manager")}
        else:
            headers["Content-Type"] = form
        answer = await service.client.request(method, path, content=body(), headers=headers)
        assert (answer.status_code, asked) == (413, 0), call


@pytest.mark.parametrize("cookies", [{}, {COOKIES.session: "of.nobody.known"}])
async def test_forms_of_those_who_are_not_signed_in_are_not_read(service: Service, cookies: dict[str, str]) -> None:
    asked = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked += 1
        yield b"a&"

    for name, value in cookies.items():
        service.client.cookies.set(name, value)
    headers = {"Content-Length": "2", "Content-Type": "application/x-www-form-urlencoded"}
    for path, status in {
        "/plan/apply": 303,
        "/notes": 303,
        "/api/rollout/notes": 401,
        "/api/rollout/plan": 401,
    }.items():
        method = "PUT" if path.endswith("/plan") else "POST"
        answer = await service.client.request(method, path, content=body(), headers=headers)
        assert (answer.status_code, asked) == (status, 0), path


async def test_the_longest_plan_and_reason_fit(service: Service) -> None:
    manager = service.as_("manager", 0)
    told = await service.client.put("/api/rollout/plan", json={"toml": "ü" * 100_000}, headers=manager)
    assert told.status_code == 422, "read, and refused for what it says"
    note = await service.client.post("/api/rollout/notes", json={"text": "\U0001f600" * 1000}, headers=manager)
    assert note.status_code == 204
