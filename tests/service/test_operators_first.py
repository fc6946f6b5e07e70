"""Clients and their issuers hold up nobody: a whole cell in this process, real workers, real sockets, real commands."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

import httpx
import pytest
import websockets
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.utils.sync import AsyncCallable
from websockets.asyncio.client import connect

from app.data_folder import take_folder
from app.gateway.connection import Connection
from app.serve.asgi import create_app
from app.serve.service import Service
from app.settings import Settings
from app.store.tokens import make_token
from dashboards.base.render import STATIC
from tests.gateway.issuer import Issuer, Signer, issuer, silent_until
from tests.gateway.serving import PATIENCE_S, serve

pytestmark = pytest.mark.slow
HANDSHAKES = 6


@dataclass
class RunningCell:
    """A cell on a port, and an operator who is signed in."""

    service: Service
    app: Litestar
    port: int
    operator: httpx.AsyncClient

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def get(self, path: str) -> httpx.Response:
        answer = await self.operator.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer

    async def command(self, verb: str, **body: object) -> Any:
        revision = (await self.get("/api/rollout")).json()["revision"]
        answer = await self.operator.post(
            f"/api/rollout/{verb}", json={"reason": "test", **body}, headers={"If-Match": f'"{revision}"'}
        )
        assert answer.is_success, answer.text
        return answer.json()

    async def roll_back(self) -> None:
        """Return when the rollback is verified and its lock on the disk."""
        answer = await self.operator.post("/api/rollout/rollback", json={"reason": "now"})
        assert answer.is_success, answer.text
        async with asyncio.timeout(PATIENCE_S):
            while (await self.get("/api/rollout")).json()["last_rollback"]["verified_at"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (Path(self.service.settings.data) / "rollback.lock").exists()

    async def look_around(self) -> None:
        """Whatever an operator needs answers."""
        for path in ("/readyz", "/healthz", "/", "/sessions", "/api/sessions", "/metrics"):
            await self.get(path)
        await self.get(f"/static/{next(STATIC.glob('*.css')).name}")


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[RunningCell]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    owned = take_folder(folder, bind)
    service = Service(Settings(bind=bind, data=str(folder), shutdown_s=0, **settings), owned)
    await service.start()
    try:
        app = create_app(service)
        async with serve(app, Connection) as server:
            base = f"http://127.0.0.1:{server.port}"
            limit = httpx.Timeout(PATIENCE_S)
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=limit, follow_redirects=True) as http:
                secret, token = make_token("manager", "operator", time(), None)
                await service.store.save_token(token)
                http.headers["Authorization"] = f"Bearer {secret}"
                yield RunningCell(service, app, server.port, http)
                service.end_streams()
    finally:
        await service.stop()
        owned.close()


async def knock(url: str, headers: dict[str, str]) -> websockets.Response | None:
    """How a handshake is refused; None: it is not."""
    try:
        async with connect(url, additional_headers=headers):
            return None
    except websockets.InvalidStatus as refused:
        return refused.response


def parts_in_threads(app: Litestar) -> Iterator[str]:
    """Whatever Litestar would call in the default executor, by the path of its route."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", [getattr(route, "route_handler", None)]):
            parts: list[object] = [*handler.resolve_guards(), handler.fn]
            parts += [each.dependency for each in handler.resolve_dependencies().values()]
            if isinstance(handler, HTTPRouteHandler):
                parts += [handler.before_request, handler.after_request, handler.after_response]
            yield from (f"{route.path}: {part.func}" for part in parts if isinstance(part, AsyncCallable))


@pytest.fixture
async def keys() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


async def test_an_issuer_that_never_answers_holds_up_neither_a_rollback_nor_a_page(
    tmp_path: Path, keys: Issuer
) -> None:
    released = asyncio.Event()
    signer = Signer("k1")
    keys.publish(signer)
    answer = keys.answer
    keys.answer = silent_until(released, answer)
    async with running(tmp_path, client_auth="jwt", jwks_url=keys.url) as cell:
        await cell.command("start", percentage=100)
        bearer = {"Authorization": f"Bearer {signer.token()}"}
        waiting = [asyncio.ensure_future(knock(cell.ws, bearer)) for _ in range(HANDSHAKES)]
        await asyncio.wait_for(keys.asked.wait(), PATIENCE_S)
        await cell.roll_back()
        await cell.look_around()
        assert len(keys.requests) == 1
        for refused in await asyncio.gather(*waiting):
            assert refused is not None
            assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (503, True)
            assert refused.body is not None
            assert json.loads(refused.body)["type"] == "urn:crossfade:sign_in_unavailable"
        released.set()
        async with asyncio.timeout(PATIENCE_S):
            while await knock(cell.ws, bearer) is not None:  # noqa: ASYNC110 - the fetch is what is awaited
                await asyncio.sleep(0.02)
        assert len(keys.requests) == 1, "the fetch under way went on"
        posted = await cell.operator.post(
            "/api/messages",
            json={"type": "ping", "payload": {}},
            headers={"Authorization": "Bearer " + Signer().token()},
        )
        assert posted.status_code == 401, "the same keys check messages over HTTP"


async def test_a_full_default_executor_holds_up_nothing(tmp_path: Path, keys: Issuer) -> None:
    """Whoever fills it, even to the last thread, is alone with it."""
    signer = Signer("k1")
    keys.publish(signer)
    released = threading.Event()
    async with running(tmp_path, client_auth="jwt", jwks_url=keys.url) as cell:
        assert list(parts_in_threads(cell.app)) == []
        await cell.command("start", percentage=100)
        loop = asyncio.get_running_loop()
        filling = [loop.run_in_executor(None, released.wait) for _ in range(64)]
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(int), 0.1)
            bearer = {"Authorization": f"Bearer {signer.token()}"}
            async with connect(cell.ws, additional_headers=bearer) as client:
                assert json.loads(await client.recv())["type"] == "connection_ready"
                await client.send('{"type": "chat", "message_id": "m1", "payload": {"content": "hello"}}')
                assert json.loads(await client.recv())["type"] == "ack"
                await cell.roll_back()
                await cell.look_around()
            handle = cell.service.pools["v2"].worker
            assert handle is not None
            async with asyncio.timeout(PATIENCE_S):
                while handle.memory.share is None:  # noqa: ASYNC110 - its thread is what is awaited
                    await asyncio.sleep(0.02)
        finally:
            released.set()
            await asyncio.gather(*filling)
    assert keys.requests
