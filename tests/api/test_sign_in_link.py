"""A sign-in link signs one browser in: by its button, because opening it must not use it up."""

from __future__ import annotations

import asyncio
import html
import re

import pytest
from sqlalchemy import select

from app.api.body_limits import SIGN_IN_BYTES
from app.store import tables
from app.store.tokens import CODE_S
from rollout import formats
from tests.api.service import COOKIES, Service, another_cell, make_client, use_link


async def made(service: Service) -> str:
    link = await service.access.make_link("http://testserver.local/", "ann")
    return link.removeprefix("http://testserver.local")


def told(text: str) -> str:
    """What a page says in its alert."""
    found = re.search(r'<p role="alert"[^>]*>([^<]*)</p>', text)
    assert found is not None
    return html.unescape(found[1])


async def test_a_link_signs_in_once_and_says_when_it_was_used(service: Service) -> None:
    link = await made(service)
    used_at = service.world.now
    first = await use_link(service.client, link)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert (await service.client.get("/api/rollout")).status_code == 200
    service.client.cookies.clear()
    service.world.now += 60
    again = await service.client.get(link)
    assert again.status_code == 401
    assert f"this link was used already, at {formats.timestamp(used_at)}" in told(again.text)
    fields = {"code": link.partition("code=")[2], "_csrf_token": service.client.cookies[COOKIES.csrf]}
    second = await service.client.post("/sign-in/once", data=fields)
    assert second.status_code == 401
    assert told(second.text) == told(again.text)
    assert COOKIES.session not in service.client.cookies
    assert (await service.client.get("/api/rollout")).status_code == 401


PREVIEWS = [
    ("GET", {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}),
    ("GET", {"Purpose": "prefetch", "Sec-Purpose": "prefetch;prerender"}),
    ("GET", {"Range": "bytes=0-32768"}),
    ("HEAD", {}),
    ("OPTIONS", {}),
]


@pytest.mark.parametrize(("method", "headers"), PREVIEWS)
async def test_nothing_that_only_opens_a_link_uses_it_up(
    service: Service, method: str, headers: dict[str, str]
) -> None:
    link = await made(service)
    before = await service.world.store.find_token(code := await digest(service))
    async with make_client(service.world, service.access) as previewer:
        for _ in range(3):
            answer = await previewer.request(method, link, headers=headers)
            assert answer.status_code < 500
        assert COOKIES.session not in previewer.cookies
    assert await service.world.store.find_token(code) == before
    assert (await use_link(service.client, link)).status_code == 303


async def digest(service: Service) -> str:
    """Of the only code in the store."""
    store = service.world.store
    async with store.begin(store.lookups) as connection:
        query = select(tables.tokens.c.digest).where(tables.tokens.c.kind == "code")
        return str((await connection.execute(query)).scalar_one())


async def test_of_several_at_once_one_is_signed_in(service: Service) -> None:
    link = await made(service)
    async with another_cell(service) as elsewhere:
        pages = await asyncio.gather(*(client.get(link) for client in (service.client, elsewhere)))
        assert [page.status_code for page in pages] == [200, 200]
        code = link.partition("code=")[2]
        answers = await asyncio.gather(
            *(
                client.post("/sign-in/once", data={"code": code, "_csrf_token": client.cookies[COOKIES.csrf]})
                for client in (service.client, elsewhere) * 3
            )
        )
    assert sorted(answer.status_code for answer in answers) == [303, 401, 401, 401, 401, 401]
    sessions = [token for token in await service.world.store.load_tokens() if token.kind == "session"]
    assert sum(token.valid(service.world.now) for token in sessions) == 1, "whoever was too late has none"


async def test_the_code_stays_out_of_referers_caches_and_logs(service: Service) -> None:
    link = await made(service)
    code = link.partition("code=")[2]
    for _ in range(2):  # once good, once used
        page = await service.client.get(link)
        assert page.headers["referrer-policy"] == "strict-origin"
        assert page.headers["cache-control"] == "no-store"
        addresses = re.findall(r'(?:href|src|action|hx-get|data-[a-z]+)="([^"]*)"', page.text)
        assert addresses
        assert not any(code in address for address in addresses)
        if page.status_code == 200:
            signed_in = await use_link(service.client, link)
            assert code not in signed_in.headers["location"]
            service.client.cookies.clear()


async def test_a_foreign_page_cannot_press_the_button(service: Service) -> None:
    """Else it could sign a browser in as somebody of its own choice, who then sees what is typed."""
    link = await made(service)
    code = {"code": link.partition("code=")[2]}
    assert (await service.client.post("/sign-in/once", data=code)).status_code == 403
    await service.client.get(link)
    fields = code | {"_csrf_token": service.client.cookies[COOKIES.csrf]}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert (await service.client.post("/sign-in/once", data=fields, headers=headers)).status_code == 403
    assert COOKIES.session not in service.client.cookies
    # What a browser sends with the policy of this page, where it sends no `Sec-Fetch-Site`: over plain http.
    origin = {"Origin": "http://testserver.local"}
    assert (await service.client.post("/sign-in/once", data=fields, headers=origin)).status_code == 303


async def test_an_old_link_says_until_when_it_was_good(service: Service) -> None:
    link = await made(service)
    end = formats.timestamp(service.world.now + CODE_S)
    await service.client.get(link)
    fields = {"code": link.partition("code=")[2], "_csrf_token": service.client.cookies[COOKIES.csrf]}
    service.world.now += CODE_S
    for answer in (await service.client.get(link), await service.client.post("/sign-in/once", data=fields)):
        assert answer.status_code == 401
        assert told(answer.text) == f"this link is too old: it was good until {end}; sign in with a token"


@pytest.mark.parametrize("code", ["", "wrong", "\0", "'\"><script>"])
async def test_a_wrong_code_signs_nobody_in(service: Service, code: str) -> None:
    opened = await service.client.get("/sign-in/once", params={"code": code})
    fields = {"code": code, "_csrf_token": service.client.cookies[COOKIES.csrf]}
    sent = await service.client.post("/sign-in/once", data=fields)
    for answer in (opened, sent):
        assert answer.status_code == 401
        assert told(answer.text).startswith("this link is not valid")
    bearer = await service.client.get("/sign-in/once", params={"code": service.tokens["manager"]})
    assert bearer.status_code == 401
    assert COOKIES.session not in service.client.cookies


async def test_a_form_without_end_is_not_read(service: Service) -> None:
    await service.client.get("/sign-in")
    fields = {"_csrf_token": service.client.cookies[COOKIES.csrf], "code": "x" * SIGN_IN_BYTES}
    assert (await service.client.post("/sign-in/once", data=fields)).status_code == 413


async def test_a_link_that_cannot_be_checked_now_says_so_and_stays_good(service: Service) -> None:
    link = await made(service)
    not_now = "the store does not answer, so this link cannot be checked now; it stays valid, try it again"
    await service.client.get(link)
    fields = {"code": link.partition("code=")[2], "_csrf_token": service.client.cookies[COOKIES.csrf]}
    service.world.store.fail(True)
    for answer in (await service.client.get(link), await service.client.post("/sign-in/once", data=fields)):
        assert (answer.status_code, told(answer.text)) == (503, not_now)
    service.world.store.fail(False)
    assert (await use_link(service.client, link)).headers["location"] == "/"
