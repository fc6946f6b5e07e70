"""The control API of a test world, as an application without sockets, and people with tokens for it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from httpx import ASGITransport, AsyncClient, Response
from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from app.api.access import NO_PROXIES, Access, Proxies, cookies_of
from app.api.body_limits import BODY_BYTES
from app.api.csrf import csrf_middleware
from app.api.http_rules import with_http_rules
from app.api.page_source import PageSource
from app.api.routes import UNROUTED, openapi_config, operators_router
from app.api.services import STATE, Services
from app.api.user_ids import keep_slashes
from app.control.history import SeriesHistory
from app.metrics.prometheus import Metrics, ScrapedCell
from app.store.tokens import make_token
from dashboards.router import SOURCE, make_router
from rollout.names import PATHS, TOKEN_ROLES
from tests.control.world import World

SECRET = "a secret of sixteen characters or more"
COOKIES = cookies_of(SECRET)
ROLES = TOKEN_ROLES


@dataclass
class Service:
    world: World
    client: AsyncClient
    access: Access
    tokens: dict[str, str]

    def as_(self, role: str, revision: int | None = None) -> dict[str, str]:
        """Headers of somebody with this role."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        return headers

    async def start(self, percentage: int = 10) -> None:
        answer = await self.client.post(
            "/api/rollout/start", json={"percentage": percentage, "reason": "go"}, headers=self.as_("manager", 0)
        )
        assert answer.status_code == 200, answer.text


def make_app(
    world: World, access: Access, routes: Sequence[ControllerRouterHandler] = (), secret: str = SECRET
) -> Litestar:
    """`routes`: beside those of the service."""

    async def cells() -> list[ScrapedCell]:
        paths = {path: world.cell.path_state(path) for path in PATHS}
        state = world.control.record
        return [ScrapedCell("a", world.counters.slots, paths, state.percentage, state.phase, 0.0)]

    history = SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    services = Services(world.control, access, Metrics(cells), history)
    app = Litestar(
        route_handlers=[operators_router(make_router()), *routes],
        middleware=[csrf_middleware(secret)],
        state=State({STATE: services, SOURCE: PageSource(world.control, access, history)}),
        openapi_config=openapi_config("0"),
        exception_handlers=UNROUTED,
        request_max_body_size=BODY_BYTES,
        logging_config=None,
    )
    app.asgi_handler = with_http_rules(keep_slashes(app.asgi_handler))
    return app


@asynccontextmanager
async def serve(
    folder: Path, proxies: Proxies = NO_PROXIES, peer: str = "127.0.0.1", secret: str = SECRET
) -> AsyncIterator[Service]:
    world = await World.make(folder)
    access = Access(world.store, secret, lambda: world.now, proxies)
    tokens: dict[str, str] = {}
    for role in ROLES:
        tokens[role], token = make_token(role, f"{role} person", world.now, None)
        await world.store.save_token(token)
    await access.open()
    async with make_client(world, access, peer, secret=secret) as client:
        try:
            yield Service(world, client, access, tokens)
        finally:
            await world.close()


@asynccontextmanager
async def another_cell(service: Service) -> AsyncIterator[AsyncClient]:
    """The same people's API as a cell answers it that has opened now, and knows the tokens that there are by now."""
    access = Access(service.world.store, SECRET, lambda: service.world.now)
    await access.open()
    async with make_client(service.world, access) as client:
        yield client


def make_client(
    world: World,
    access: Access,
    peer: str = "127.0.0.1",
    routes: Sequence[ControllerRouterHandler] = (),
    secret: str = SECRET,
) -> AsyncClient:
    # Litestar's own client runs the application in another loop, where the world's locks do not live.
    application = cast(
        "Any", make_app(world, access, routes, secret)
    )  # two descriptions of ASGI that mypy does not bring together
    transport = ASGITransport(application, raise_app_exceptions=False, client=(peer, 1))
    return AsyncClient(transport=transport, base_url="http://testserver.local")


async def use_link(client: AsyncClient, link: str) -> Response:
    """Open a sign-in link and press its button."""
    page = await client.get(link)
    assert page.status_code == 200, page.text
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    return await client.post("/sign-in/once", data=fields)
