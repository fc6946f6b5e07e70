"""Whatever stands in an address, nobody gets a 500: a browser gets a page, a program a problem document.

And where something fails all the same, the log has what happened under the reference that the answer names.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import get
from litestar.routes import HTTPRoute

from app.problem import MEDIA_TYPE
from tests.api.service import Service, make_app, make_client
from tests.dashboards.pages import Pages, open_pages

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
ODD: tuple[str | bytes, ...] = (
    "", "0", "-1", str(10**30), "9" * 5000, "1e400", "nan", "-inf", "0000-13-99", "9999-12-31", "0001-01-01",
    "2026-02-30", "\0", "a\0b", "\u202eevil", "\N{PILE OF POO}", b"\xff\xfe", b"\xed\xa0\x80", "x" * 6000, "null",
    "../../etc/passwd", "%", "\uff11", " 1 ", "\r\nX: y", "<b>",
)  # fmt: skip
SEARCHED = {
    "/history": ["q", "who", "what", "since", "until"],
    "/history.csv": ["q", "since", "until"],
    "/history.jsonl": ["q", "since", "until"],
    "/sessions": ["q", "path", "after"],
    "/sections/{}": ["id"],
    "/sections/history": ["q", "since", "until"],
    "/sections/sessions": ["path", "after"],
    "/sign-in": ["next", "out"],
}
"""What pages read of an address without declaring it."""
ENDLESS = {"/changes"}
PAGES = ("/sign-in", "/schema/")
"""Answered with a page whoever asks: a refused sign-in with the form, and what is no schema by Litestar."""


def addresses(service: Service) -> Iterator[tuple[str, list[str]]]:
    """Everything that can be got, with `{}` for each part that varies, and the names in its query."""
    found = dict(SEARCHED)
    for route in make_app(service.world, service.access).routes:
        if isinstance(route, HTTPRoute) and "GET" in route.methods:
            path = "".join(f"/{part}" if isinstance(part, str) else "/{}" for part in route.path_components) or "/"
            _, arguments = route.route_handler_map["GET"]
            names = {parameter.field_alias for parameter in arguments.expected_query_params}
            found[path] = sorted({*found.get(path, []), *names})
    return ((path, names) for path, names in found.items() if path not in ENDLESS)


def odd_addresses(path: str, names: list[str]) -> Iterator[str]:
    for odd in ODD:
        encoded = quote(odd, safe="")
        if "{}" in path:
            yield path.replace("{}", encoded or "%20")
        for name in names:
            yield f"{path.replace('{}', 'x')}?{name}={encoded}"


async def check(service: Service, address: str) -> None:
    """Once for a program, once for a browser."""
    for accept, kind in (("*/*", MEDIA_TYPE), (BROWSER, "text/html")):
        answer = await service.client.get(address, headers={**service.as_("manager"), "Accept": accept})
        what = (address[:80], accept, answer.text[:200])
        assert answer.status_code < 500, what
        if answer.status_code >= 400 and not address.startswith(PAGES):
            assert answer.headers["content-type"].startswith(kind), what


async def test_no_address_whatever_it_holds_fails(service: Service) -> None:
    await service.start(10)
    seen = 0
    for path, names in addresses(service):
        for address in odd_addresses(path, names):
            await check(service, address)
            seen += 1
    assert seen > 1000


async def test_a_day_that_is_none_is_said_and_a_number_that_is_none_is_refused(service: Service) -> None:
    async def page(address: str) -> tuple[int, str]:
        answer = await service.client.get(address, headers={**service.as_("viewer"), "Accept": BROWSER})
        return answer.status_code, answer.text

    for day in ("0000-13-99", "9999-12-31", "0001-01-01"):
        status, text = await page(f"/history?until={day}")
        assert (status, f"{day}&#39; is not a day" in text) == (200, True)
    for number in (10**30, -1, "many"):
        status, text = await page(f"/history?before={number}")
        assert (status, "<h1" in text) == (422, True)


@pytest.fixture
def pages() -> Iterator[Pages]:
    with open_pages() as opened:
        yield opened


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=60), st.sampled_from(["/users/{}", "/history?q={}", "/sessions?after={}", "/sections/user?id={}"])
)
def test_any_text_in_a_page_is_shown_as_text(pages: Pages, text: str, address: str) -> None:
    """Against the pages alone, which are quick."""
    answer = pages.get(address.replace("{}", quote(text.encode("utf-8", "surrogatepass"), safe="") or "%20"))
    assert answer.status_code < 500
    assert "<script>" not in answer.text


class Broken(Exception):
    pass


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
@pytest.mark.parametrize("address", ["/api/errors", "/errors", "/sections/errors", "/nowhere/raises"])
async def test_every_500_is_logged_with_its_reference(
    service: Service, monkeypatch: pytest.MonkeyPatch, address: str, accept: str
) -> None:
    async def fail(*_: object) -> None:
        raise Broken("a secret detail")

    @get("/nowhere/raises", opt={"exclude_from_csrf": True})
    async def raises() -> None:
        await fail()

    monkeypatch.setattr(service.world.control.queries, "errors", fail)
    with structlog.testing.capture_logs() as logged:
        async with make_client(service.world, service.access, routes=[raises]) as client:
            answer = await client.get(address, headers={**service.as_("viewer"), "Accept": accept})
    (entry,) = [entry for entry in logged if entry["event"] == "a request failed"]
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html" if accept == BROWSER else MEDIA_TYPE)
    assert entry["reference"] in answer.text
    assert isinstance(entry["exc_info"], Broken)
    assert "secret detail" not in answer.text


NO_COOKIE = ("/metrics", "/healthz", "/readyz", "/static/crossfade.css", "/api/rollout", "/api/errors")


@pytest.mark.parametrize("address", NO_COOKIE)
async def test_what_a_program_reads_sets_no_cookie(service: Service, address: str) -> None:
    answer = await service.client.get(address, headers=service.as_("viewer"))
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    if not address.startswith("/api/"):
        assert "set-cookie" not in (await service.client.get(address)).headers


async def test_a_page_sets_one_because_its_forms_need_it(service: Service) -> None:
    assert "crossfade_csrf" in (await service.client.get("/sign-in")).headers["set-cookie"]
