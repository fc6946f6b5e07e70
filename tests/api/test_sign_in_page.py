"""Signing in as people see it: back to the page they asked for, and texts that say what to do."""

from __future__ import annotations

import html
import re
from pathlib import Path

import httpx
import pytest

from app.api.access import proxies_of
from app.settings import Settings
from dashboards.sign_in import own_address
from tests.api.service import COOKIES, Service, serve

PROXIED = proxies_of(Settings(trusted_proxies="10.0.0.0/8", trusted_user_header="X-User", trusted_role_header="X-Role"))
DEEP = "/users/a%2Fb%20c?x=1&y=%3Cscript%3E"


def field(page: httpx.Response, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found is not None, name
    return html.unescape(found[1])


async def sign_in(service: Service, address: str, token: str) -> httpx.Response:
    """What somebody gets who opens an address, is asked who they are, and says so."""
    sent = await service.client.get(address)
    assert sent.status_code == 303
    page = await service.client.get(sent.headers["location"])
    form = {"_csrf_token": field(page, "_csrf_token"), "next": field(page, "next"), "token": token}
    return await service.client.post("/sign-in/token", data=form)


async def test_signing_in_leads_to_the_page_that_was_asked_for(service: Service) -> None:
    wrong = await sign_in(service, DEEP, "cf_wrong")
    assert wrong.status_code == 401
    assert "this token is not valid: it is mistyped, was revoked, or has expired" in wrong.text
    assert field(wrong, "next") == DEEP, "a mistyped token loses nothing"
    right = await sign_in(service, DEEP, service.tokens["viewer"])
    assert (right.status_code, right.headers["location"]) == (303, DEEP)
    assert (await service.client.get(right.headers["location"])).status_code == 200


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example/",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "",
        "plan",
        "/a\r\nX: y",
        "/a b",
    ],
)
async def test_no_link_leads_to_another_host(service: Service, elsewhere: str) -> None:
    assert own_address(elsewhere) == "/"
    page = await service.client.get("/sign-in", params={"next": elsewhere})
    assert field(page, "next") == "/"
    form = {"_csrf_token": field(page, "_csrf_token"), "next": elsewhere, "token": service.tokens["viewer"]}
    answer = await service.client.post("/sign-in/token", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("address", ["/", "/sections/overview", "/changes", "/preview?typed=3"])
async def test_what_is_no_page_is_nothing_to_come_back_to(service: Service, address: str) -> None:
    answer = await service.client.get(address)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_who_is_signed_in_is_not_asked_again_and_who_signs_out_is_told(service: Service) -> None:
    await sign_in(service, "/plan", service.tokens["oncall"])
    again = await service.client.get("/sign-in", params={"next": "/plan"})
    assert (again.status_code, again.headers["location"]) == (303, "/plan")
    form = {"_csrf_token": field(await service.client.get("/plan"), "_csrf_token")}
    out = await service.client.post("/sign-out", data=form)
    page = await service.client.get(out.headers["location"])
    assert COOKIES.session not in service.client.cookies
    assert '<p role="status">You are signed out.</p>' in page.text


async def test_behind_a_proxy_the_page_says_whose_business_it_is(tmp_path: Path) -> None:
    async with serve(tmp_path, PROXIED, "10.1.2.3") as service:
        unknown = await service.client.get("/sign-in", headers={"X-User": "ada", "X-Role": "root"})
        assert "without one of the roles viewer, oncall and manager" in unknown.text
        known = {"X-User": "ada", "X-Role": "oncall"}
        assert (await service.client.get("/sign-in", headers=known)).headers["location"] == "/"
        out = await service.client.get("/sign-in?out=1", headers=known)
        assert "You are still signed in as ada (oncall); if a proxy signs you in, sign out there." in out.text
        nobody = await service.client.get("/sign-in")
        assert 'id="problem"' not in nobody.text
