"""Signing in, cookies, and what a foreign page cannot do with them; health, metrics and schema need no sign-in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import update

from app.api.access import SESSION_S, Access
from app.api.csrf import HEADER
from app.store import tables
from app.store.tokens import make_token
from tests.api.service import COOKIES, SECRET, Service, another_cell, serve, use_link

A_SECOND = 1.0
"""After which what became of a token counts everywhere."""


async def link(service: Service) -> str:
    made = await service.access.make_link("http://testserver.local/", "ann")
    return made.removeprefix("http://testserver.local")


async def sign_in(service: Service) -> str:
    """Sign in by the link; the CSRF token of the page."""
    assert (await use_link(service.client, await link(service))).status_code == 303
    page = await service.client.get("/")
    assert page.status_code == 200
    return service.client.cookies[COOKIES.csrf]


async def test_the_cookie_is_secure_over_tls(service: Service) -> None:
    service.client.headers["X-Forwarded-Proto"] = "https"
    opened = await service.client.get(await link(service))
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', opened.text))
    # The test's browser keeps a secure cookie to itself over http.
    csrf = {"Cookie": opened.headers["set-cookie"].partition(";")[0]}
    answer = await service.client.post("/sign-in/once", data=fields, headers=csrf)
    cookies = opened.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    assert all("Secure" in cookie for cookie in cookies)


async def test_a_token_signs_in_by_the_form(service: Service) -> None:
    page = await service.client.get("/sign-in")
    found = re.search(r'name="_csrf_token" value="([0-9a-f]+)"', page.text)
    assert found
    form = {"_csrf_token": found[1], "token": "cf_wrong"}
    assert (await service.client.post("/sign-in/token", data=form)).status_code == 401
    assert COOKIES.session not in service.client.cookies
    answer = await service.client.post("/sign-in/token", data=form | {"token": service.tokens["oncall"]})
    assert answer.status_code == 303
    page_of = await service.client.post("/api/rollout/notes", json={"text": "x"}, headers={HEADER: found[1]})
    assert page_of.status_code == 204
    entry = (await service.world.control.repository.events()).items[0]
    assert entry.who == "oncall person"
    assert entry.source.startswith("page ")
    await service.client.post("/sign-out", headers={HEADER: found[1]})
    assert (await service.client.get("/api/rollout")).status_code == 401


async def test_the_form_needs_its_own_token(service: Service) -> None:
    answer = await service.client.post("/sign-in/token", data={"token": service.tokens["manager"]})
    assert answer.status_code == 403
    assert COOKIES.session not in service.client.cookies


UNSAFE: list[tuple[str, str, dict[str, object] | None]] = [
    ("POST", "/api/rollout/rollback", {}),
    ("POST", "/api/rollout/start", {}),
    ("POST", "/api/rollout/notes", {"text": "x"}),
    ("PUT", "/api/rollout/plan", {"toml": ""}),
    ("PUT", "/api/users/u1/pin", {"path": "v3"}),
    ("DELETE", "/api/users/u1/pin", None),
    ("POST", "/api/hooks/alertmanager", {"version": "4", "alerts": []}),
    ("POST", "/act/rollback", {}),
    ("POST", "/sign-out", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), UNSAFE)
async def test_a_foreign_page_can_do_nothing_with_the_cookie(
    service: Service, method: str, path: str, body: dict[str, object] | None
) -> None:
    await sign_in(service)
    before = service.world.control.record
    for headers in ({}, {HEADER: "0" * 128}, {"Content-Type": "text/plain"}):
        answer = await service.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 403
        if path.startswith("/api/"):
            assert answer.headers["content-type"] == "application/problem+json"
    assert service.world.control.record == before
    assert COOKIES.session in service.client.cookies


async def test_the_page_itself_can(service: Service) -> None:
    token = await sign_in(service)
    answer = await service.client.post("/api/rollout/rollback", headers={HEADER: token})
    assert (answer.status_code, answer.json()["phase"]) == (200, "rolled_back")
    form = {"_csrf_token": token, "revision": "1", "reason": "fixed"}
    assert (await service.client.post("/act/unlock", data=form)).status_code == 303
    assert service.world.control.record.phase == "idle"
    assert service.world.control.record.changed_by == "ann"


async def test_a_bearer_token_needs_no_csrf_token_and_counts_alone(service: Service) -> None:
    await sign_in(service)
    viewer = await service.client.post("/api/rollout/rollback", headers=service.as_("viewer"))
    assert viewer.status_code == 403
    assert viewer.json()["type"] == "urn:crossfade:not_allowed"
    wrong = await service.client.post("/api/rollout/rollback", headers={"Authorization": "Bearer nothing"})
    assert wrong.status_code == 401
    assert (await service.client.post("/api/rollout/rollback", headers=service.as_("oncall"))).status_code == 200


async def test_a_csrf_cookie_of_another_secret_is_replaced(service: Service) -> None:
    service.client.cookies.set(COOKIES.csrf, "f" * 128, domain="testserver.local")
    page = await service.client.get("/sign-in")
    assert COOKIES.csrf in page.headers["set-cookie"]


@pytest.mark.parametrize("cookie", ["", "nonsense", "a.b.c"])
async def test_a_cookie_that_is_not_ours_is_nobody(service: Service, cookie: str) -> None:
    service.client.cookies.set(COOKIES.session, cookie, domain="testserver.local")
    assert (await service.client.get("/api/rollout")).status_code == 401


async def test_a_cookie_of_another_secret_or_too_old_is_nobody(service: Service) -> None:
    other = Access(service.world.store, SECRET + "!", lambda: service.world.now)
    forged = await other.sign_in_with_token(service.tokens["manager"], secure=False)
    assert forged is not None
    service.client.cookies.set(COOKIES.session, forged.value or "", domain="testserver.local")
    assert (await service.client.get("/api/rollout")).status_code == 401
    service.client.cookies.clear()
    await sign_in(service)
    service.world.now += SESSION_S - 1
    assert (await service.client.get("/api/rollout")).status_code == 200
    service.world.now += 2
    assert (await service.client.get("/api/rollout")).status_code == 401


async def by_form(service: Service, secret: str) -> int:
    """Sign in with this token; the status of the answer."""
    page = await service.client.get("/sign-in")
    found = re.search(r'name="_csrf_token" value="([0-9a-f]+)"', page.text)
    assert found
    form = {"_csrf_token": found[1], "token": secret}
    return (await service.client.post("/sign-in/token", data=form)).status_code


@pytest.mark.parametrize("how", ["revoked", "expired", "of another kind"])
async def test_a_browser_is_signed_out_with_the_token_it_signed_in_with(service: Service, how: str) -> None:
    store = service.world.store
    secret, token = make_token("manager", "temp", service.world.now, service.world.now + 60)
    await store.save_token(token)
    assert await by_form(service, secret) == 303
    assert (await service.client.get("/")).status_code == 200
    if how == "revoked":
        await store.revoke_token(token.digest, service.world.now)
        service.world.now += A_SECOND
    elif how == "expired":
        service.world.now += 60
    else:  # as if the cookie named a sign-in code
        async with store.begin(store.control) as connection:
            await connection.execute(update(tables.tokens).values(kind="code"))
        service.world.now += A_SECOND
    assert (await service.client.get("/api/rollout")).status_code == 401
    assert (await service.client.get("/")).headers["location"] == "/sign-in"
    assert await by_form(service, secret) == 401


async def test_a_session_has_the_role_that_its_token_has_now(service: Service) -> None:
    assert await by_form(service, service.tokens["manager"]) == 303
    csrf = {HEADER: service.client.cookies[COOKIES.csrf]}
    store = service.world.store
    async with store.begin(store.control) as connection:
        await connection.execute(update(tables.tokens).values(role="viewer", name="ann"))
    service.world.now += A_SECOND
    refused = await service.client.post("/api/rollout/rollback", headers=csrf)
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "ann has the role viewer; this needs the role oncall",
    )


async def test_the_session_of_a_link_is_a_token_that_can_be_revoked_and_ends_with_signing_out(service: Service) -> None:
    store = service.world.store
    csrf = {HEADER: await sign_in(service)}
    (session,) = [token for token in await store.load_tokens() if token.kind == "session"]
    assert (session.name, session.role, session.expires_at) == ("ann", "manager", service.world.now + SESSION_S)
    kept = service.client.cookies[COOKIES.session]
    assert (await service.client.post("/sign-out", headers=csrf)).status_code == 303
    service.world.now += A_SECOND
    service.client.cookies.set(COOKIES.session, kept, domain="testserver.local")
    assert (await service.client.get("/api/rollout")).status_code == 401


async def test_a_session_works_while_the_store_is_down_also_in_a_cell_that_never_saw_it(service: Service) -> None:
    async with another_cell(service) as elsewhere:
        secret, token = make_token("oncall", "ann", service.world.now, None)
        await service.world.store.save_token(token)
        assert await by_form(service, secret) == 303
        csrf = {HEADER: service.client.cookies[COOKIES.csrf]}
        elsewhere.cookies = service.client.cookies
        service.world.store.fail(True)
        for client in (service.client, elsewhere):
            answer = await client.post("/api/rollout/rollback", headers=csrf)
            assert (answer.status_code, answer.json()["phase"]) == (200, "rolled_back")
        service.world.store.fail(False)
    await service.world.store.revoke_token(token.digest, service.world.now)
    service.world.now += A_SECOND
    assert (await service.client.get("/api/rollout")).status_code == 401
    service.world.store.fail(True)
    assert (await service.client.get("/api/rollout")).status_code == 401, "what is known to be revoked stays so"
    service.world.store.fail(False)


async def test_tokens_expire_and_are_revoked(service: Service) -> None:
    secret, token = make_token("manager", "temp", service.world.now, service.world.now + 60)
    await service.world.store.save_token(token)
    headers = {"Authorization": f"Bearer {secret}"}
    assert (await service.client.get("/api/rollout", headers=headers)).status_code == 200
    service.world.now += 61
    assert (await service.client.get("/api/rollout", headers=headers)).status_code == 401
    await service.world.store.revoke_token(token.digest, service.world.now)
    viewer = service.as_("viewer")
    assert (await service.client.get("/api/rollout", headers=viewer)).status_code == 200
    (digest,) = [each.digest for each in await service.world.store.load_tokens() if each.role == "viewer"]
    await service.world.store.revoke_token(digest, service.world.now)
    service.world.now += 2
    assert (await service.client.get("/api/rollout", headers=viewer)).status_code == 401


async def test_a_sign_in_code_is_no_bearer_token(service: Service) -> None:
    code = (await link(service)).partition("code=")[2]
    assert (await service.client.get("/api/rollout", headers={"Authorization": f"Bearer {code}"})).status_code == 401
    by_token = await service.client.get("/sign-in/once", params={"code": service.tokens["manager"]})
    assert by_token.status_code == 401


async def test_pages_send_strangers_to_the_form(service: Service) -> None:
    answer = await service.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_health_needs_nobody(service: Service) -> None:
    assert (await service.client.get("/healthz")).json() == {"status": "ok"}
    assert (await service.client.get("/readyz")).status_code == 200
    service.world.cell.available["v2"] = False
    not_ready = await service.client.get("/readyz")
    assert (not_ready.status_code, not_ready.headers["retry-after"]) == (503, "1")
    assert not_ready.json()["reason"].startswith("v2 is unavailable")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_metrics_need_nobody(service: Service, accept: str) -> None:
    answer = await service.client.get("/metrics", headers={"Accept": accept})
    kind = "application/openmetrics-text" if accept else "text/plain"
    assert answer.headers["content-type"].startswith(kind)
    assert 'crossfade_sessions{cell="a",path="v2"} 100.0' in answer.text


async def test_the_schema_names_every_call_and_loads_nothing_from_elsewhere(service: Service) -> None:
    answer = await service.client.get("/schema")
    assert answer.status_code == 200
    schema = answer.json()
    documented = {f"{method.upper()} {path}" for path, calls in schema["paths"].items() for method in calls}
    verbs = ("start", "percentage", "promote", "pause", "resume", "undo", "unlock", "rollback", "notes")
    assert {f"POST /api/rollout/{verb}" for verb in verbs} <= documented
    assert {"GET /api/rollout", "PUT /api/rollout/plan", "GET /api/sessions", "GET /healthz"} <= documented
    assert not any(path.startswith("/sign-in") for path in schema["paths"])
    assert (await service.client.get("/schema/openapi.yaml")).status_code == 200
    assert (await service.client.get("/schema/swagger")).status_code == 404


async def test_two_services_on_one_host_do_not_sign_each_other_out(tmp_path: Path) -> None:
    """A browser sends the cookies of a host to all its ports, so both services share one jar here."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with serve(tmp_path / "a") as first, serve(tmp_path / "b", secret="another secret of the tests") as second:
        second.client._cookies = first.client.cookies
        for service in (first, second):
            assert (await use_link(service.client, await link(service))).status_code == 303
        for service in (first, second, first):
            token = await page_token(service)
            note = await service.client.post("/api/rollout/notes", json={"text": "x"}, headers={HEADER: token})
            assert note.status_code == 204
        names = sorted(cookie.name for cookie in first.client.cookies.jar)
        assert len(names) == len(set(names)) == 4
        assert all(re.fullmatch(r"crossfade_(session|csrf)_[0-9a-f]{8}", name) for name in names)
        await second.client.post("/sign-out", headers={HEADER: await page_token(second)})
        assert (await second.client.get("/api/rollout")).status_code == 401
        assert (await first.client.get("/api/rollout")).status_code == 200


async def page_token(service: Service) -> str:
    """The CSRF token in a page's forms."""
    found = re.search(r'name="_csrf_token" value="([0-9a-f]+)"', (await service.client.get("/")).text)
    assert found is not None
    return found[1]
