"""Somebody in front of the pages: what they open, send and click, over a rollout in memory."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
from litestar import Litestar
from litestar.testing import TestClient

from rollout.names import TokenRole
from rollout.views import RolloutView
from tests.dashboards.memory import MemorySource, make_app


class Pages:
    """The pages as one person sees them; forms carry the token that a page gave them."""

    def __init__(self, client: TestClient[Litestar], source: MemorySource) -> None:
        self.client, self.source = client, source

    def get(self, address: str = "/") -> httpx.Response:
        return self.client.get(address, follow_redirects=False)

    def text(self, address: str) -> str:
        """A page without its markup, on one line."""
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", self.get(address).text)))

    def send(self, address: str, fields: Mapping[str, str] | None = None, **more: str) -> httpx.Response:
        return self.client.post(address, data=self.signed({**(fields or {}), **more}), follow_redirects=False)

    def click(
        self, verb: str, fields: Mapping[str, str] | None = None, *, script: bool = False, live: bool = False
    ) -> httpx.Response:
        headers = {"HX-Request": "true", "Crossfade-Live": str(live).lower()} if script else {}
        data = self.signed(fields or {})
        return self.client.post(f"/act/{verb}", data=data, headers=headers, follow_redirects=False)

    def signed(self, fields: Mapping[str, str]) -> dict[str, str]:
        found = re.search(r'name="_csrf_token" value="([^"]+)"', self.get("/history").text)
        assert found is not None
        return {"_csrf_token": found.group(1), **fields}


@contextmanager
def open_pages(role: TokenRole | None = "manager", view: RolloutView | None = None) -> Iterator[Pages]:
    source = MemorySource(view, role)
    with TestClient(make_app(source)) as client:
        yield Pages(client, source)


def page_of(view: RolloutView, role: TokenRole = "manager", address: str = "/") -> str:
    """One page of a rollout, as it is served."""
    with open_pages(role, view) as pages:
        answer = pages.get(address)
    assert answer.status_code == 200
    return answer.text


def button(page: str, identity: str) -> str:
    """The tag of a button."""
    found = re.search(rf'<button[^>]* id="{identity}"[^>]*>', page)
    assert found is not None, identity
    return found.group()
