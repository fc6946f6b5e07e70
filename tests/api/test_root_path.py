"""The wrapper that puts a service under a path: what it takes off an address, and what it adds to an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import pytest
from litestar.routes import BaseRoute
from litestar.types import Message

from app.api.root_path import OWN, under_root_path
from app.data_folder import DataFolder
from app.serve.asgi import create_app
from app.serve.service import Service
from app.settings import Settings
from dashboards.base.render import ROOT_PATH, at

ROOT = "/a/crossfade"


async def passed(raw: str, location: str = "", kind: str = "http") -> tuple[str, str, str]:
    """The path that the application sees, its other spelling, and where it says that the answer is."""
    seen: list[tuple[str, str]] = []
    sent: list[Message] = []

    async def app(scope: Any, _: object, send: Any) -> None:
        assert (ROOT_PATH.get(), at("/x"), at("?x"), at("")) == (ROOT, f"{ROOT}/x", "?x", "")
        seen.append((scope["path"], scope["raw_path"].decode()))
        headers = [(b"x-other", b"/as/it/is"), (b"Location", location.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": headers})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": kind, "path": unquote(raw.partition("?")[0]), "raw_path": raw.encode()}
    await under_root_path(cast("Any", app), ROOT)(cast("Any", scope), cast("Any", None), send)
    headers = cast("dict[str, Any]", sent[0])["headers"]
    assert headers[0] == (b"x-other", b"/as/it/is")
    assert at("/x") == "/x", "only for as long as the request"
    return (*seen[0], headers[1][1].decode())


@pytest.mark.parametrize(
    ("raw", "path", "rest"),
    [
        ("/", "/", "/"),
        ("/sessions", "/sessions", "/sessions"),
        (ROOT, "/", "/"),
        (f"{ROOT}/", "/", "/"),
        (f"{ROOT}/sessions", "/sessions", "/sessions"),
        (f"{ROOT}/sessions?q=/x", "/sessions", "/sessions?q=/x"),
        (f"{ROOT}?q", "/", "/?q"),
        (f"{ROOT}/users/a%2Fb", "/users/a/b", "/users/a%2Fb"),
        (f"{ROOT}er/x", f"{ROOT}er/x", f"{ROOT}er/x"),
        (f"/x{ROOT}/y", f"/x{ROOT}/y", f"/x{ROOT}/y"),
        ("/a/%63rossfade/x", "/a/crossfade/x", "/a/%63rossfade/x"),
    ],
)
async def test_the_path_is_taken_off_where_it_is_and_nothing_else(raw: str, path: str, rest: str) -> None:
    for kind in ("http", "websocket"):
        assert (await passed(raw, kind=kind))[:2] == (path, rest)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/", f"{ROOT}/"),
        ("/sign-in?next=%2Fplan", f"{ROOT}/sign-in?next=%2Fplan"),
        ("//evil.example", "//evil.example"),
        ("https://x.example/", "https://x.example/"),
        ("", ""),
    ],
)
async def test_an_answer_leads_to_where_the_browser_finds_it(location: str, told: str) -> None:
    assert (await passed("/", location))[2] == told


async def test_no_address_of_ours_begins_like_a_root_path(tmp_path: Path) -> None:
    """Whatever is registered stands in the list of names that a root path may not begin with."""
    service = Service(Settings(data=str(tmp_path)), DataFolder(tmp_path))
    routes: list[BaseRoute] = create_app(service).routes  # type: ignore[assignment]
    await service.pools.stop()
    assert {route.path.strip("/").partition("/")[0] for route in routes} - {""} == OWN
