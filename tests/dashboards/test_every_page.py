"""What holds for every page: the frame, the way in, who may act, escaping, headers, names for a screen reader."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import pytest
from litestar.testing import TestClient

from dashboards.try_page import TryPage
from tests.dashboards.memory import (
    MemorySource,
    entry,
    group,
    make_app,
    no_verdicts,
    path,
    receipt,
    rollout,
    session,
)
from tests.dashboards.pages import Pages, open_pages, page_of

PAGES = ("/sessions", "/users/ada", "/errors", "/history", "/rollbacks/r1", "/plan", "/health")
EVIL = '<script>alert(1)</script>"><hx-partial hx-target="#main"><img src=x onerror=alert(2)>'
PHASES = [("idle", 0), ("progressing", 10), ("paused", 33), ("completed", 100), ("rolled_back", 0)]


@pytest.mark.parametrize(("phase", "percentage"), PHASES)
@pytest.mark.parametrize("address", ["/", "/try", "/history"])
def test_every_page_renders_in_every_phase(phase: str, percentage: int, address: str) -> None:
    page = page_of(rollout(phase, percentage), address=address)
    assert "<h1" in page
    if address != "/history":
        assert len(re.findall("<main", page)) == len(re.findall("<h1", page)) == 1
        assert 'id="rollback-button"' in page


@pytest.mark.parametrize("address", PAGES)
def test_every_page_has_one_heading_the_way_to_the_others_and_the_way_out(pages: Pages, address: str) -> None:
    page = pages.get(address).text
    assert len(re.findall("<h1", page)) == 1
    for other in ("/", "/sessions", "/errors", "/history", "/plan", "/health", "/try"):
        assert f'<li><a href="{other}"' in page
    assert 'action="/sign-out"' in page
    identities = re.findall(r'\sid="([^"]+)"', page)
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("address", [*PAGES, "/history.csv", "/history.jsonl", "/rollbacks/r1?format=json"])
def test_nobody_sees_a_page_without_signing_in(address: str) -> None:
    with open_pages(None) as pages:
        answer = pages.get(address)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?{urlencode({'next': address})}")


def test_nobody_signed_in_is_sent_to_the_form_and_a_script_is_told() -> None:
    with TestClient(make_app(MemorySource(role=None))) as client:
        for address in ("/", "/try", "/history", "/preview?typed=3", "/sections/overview", "/changes"):
            response = client.get(address, follow_redirects=False)
            assert (response.status_code, response.headers["location"].partition("?")[0]) == (303, "/sign-in")
        assert client.get("/changes", headers={"HX-Request": "true"}).status_code == 401
        form = client.get("/sign-in").text
    assert 'action="/sign-in/token"' in form
    assert 'name="token"' in form
    assert re.search(r'name="_csrf_token" value="\w{64,}"', form)


def test_a_post_without_the_forms_token_does_nothing(pages: Pages) -> None:
    pages.get()
    response = pages.client.post("/act/rollback", data={"_csrf_token": "0" * 128})
    assert response.status_code == 403
    assert "Reload the page and try again." in response.text
    assert pages.source.commands == []


def test_a_refused_pin_and_a_refused_note_say_why(pages: Pages) -> None:
    pages.source.refusal = "the store is away"
    for answer in (pages.send("/pins", user_id="ada", path="v3"), pages.send("/notes", text="hello")):
        assert answer.status_code == 409
        assert 'role="alert">Refused: the store is away' in answer.text
    assert (pages.source.pins, pages.source.notes) == ([], [])


def test_a_viewer_may_look_and_is_told_what_is_not_theirs() -> None:
    with open_pages("viewer") as pages:
        user = pages.get("/users/ada").text
        assert "needs the role manager; you are viewer" in user
        assert len(re.findall(r'<button type="submit" name="path"[^>]* disabled', user)) == 3
        history = pages.get("/history").text
        assert "needs the role oncall; you are viewer" in history
        assert re.search(r'<input id="note"[^>]* disabled', history)


def test_whom_a_page_does_not_speak_of_is_named(pages: Pages) -> None:
    pages.source.missing = ["c", "d"]
    for address in ("/sessions", "/users/ada", "/users/carol", "/errors"):
        assert "Not included, because not heard from: cell c, d." in pages.get(address).text
    pages.source.people = []
    page = pages.get("/sessions").text
    assert "Not included, because not heard from: cell c, d." in page
    assert "crossfade loadtest" not in page, "others may be connected there"


def test_an_empty_page_says_what_a_newcomer_may_do(pages: Pages) -> None:
    pages.source.people, pages.source.groups, pages.source.audit = [], [], []
    sessions = pages.get("/sessions").text
    assert "Nobody is connected." in sessions
    assert "crossfade loadtest" in sessions
    assert "No errors since the service started." in pages.get("/errors").text
    assert "Nothing has been done yet." in pages.get("/history").text


@pytest.mark.parametrize("address", ["/", "/health"])
def test_the_service_says_which_cell_is_silent(address: str) -> None:
    cell = {"name": "d", "revision": 1, "sessions": 1, "has_lock": False, "silent_s": 2.4}
    assert "1 of 1 cell: d silent for 2 s" in page_of(rollout(cells=[{**cell, "silent": True}]), address=address)
    assert "silent" not in page_of(rollout(cells=[{**cell, "silent": False}]), address=address)


def test_what_people_wrote_is_escaped_everywhere() -> None:
    done = receipt(by=EVIL, reason=EVIL, verified_at=None, silent_cells=[EVIL])
    view = rollout(
        "rolled_back",
        0,
        reason=EVIL,
        changed_by=EVIL,
        environment=EVIL,
        last_rollback=done,
        lock={"generation": 1, "since": 1.0, "by": EVIL, "reason": EVIL},
        paths=[path("v2", build=EVIL), path("v3", available=False, unavailable_reason=EVIL)],
        verdicts=[msgspec.structs.replace(one, words=EVIL, detail=EVIL) for one in no_verdicts()],
        allowed={"set": EVIL},
    )
    source = MemorySource(view)
    source.audit = [entry(1, EVIL, EVIL, EVIL)]
    with TestClient(make_app(source)) as client:
        pages = Pages(client, source)
        source.refusal = EVIL
        source.people, source.groups = [session(EVIL)], [group(EVIL, only=True, reference=EVIL)]
        addresses = ["/", "/try", "/history", "/sessions", "/errors", "/rollbacks/r1", f"/users/{quote(EVIL, safe='')}"]
        addresses += [f"/sessions?q={quote(EVIL)}", f"/history?q={quote(EVIL)}"]
        texts = [pages.get(address).text for address in addresses]
        texts += [pages.click("rollback", script=script).text for script in (True, False)]
        for text in texts:
            assert "&lt;script&gt;alert(1)" in text
            assert "<script>" not in text
            assert "<img" not in text
            assert text.count('hx-target="#main"') == 0


def test_every_answer_is_guarded_and_nothing_is_inline_or_from_elsewhere(pages: Pages) -> None:
    for address in ("/", "/try", "/history", "/sign-in"):
        response = pages.get(address)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on|<script(?![^>]* src=)", response.text)
        for link in re.findall(r'(?:src|href|action|formaction|hx-\w+(?::\w+)?)="([^"]*)"', response.text):
            assert not urlsplit(link).netloc, link


def test_every_static_file_a_page_names_is_there(pages: Pages) -> None:
    links = {link for address in ("/", "/try") for link in re.findall(r'"(/static/[^"]+)"', pages.get(address).text)}
    assert len(links) >= 6
    for link in links:
        response = pages.get(link)
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]


def test_names_for_assistive_technology(pages: Pages) -> None:
    page = pages.get().text
    identities = re.findall(r'\sid="([^"]+)"', page)
    assert len(identities) == len(set(identities))
    for attribute in ("aria-labelledby", "aria-describedby", "for"):
        for value in re.findall(rf'\s{attribute}="([^"]+)"', page):
            assert set(value.split()) <= set(identities), value
    for landmark in ('<html lang="en">', "<header", '<nav aria-label="Pages"', '<main id="main"', 'href="#main"'):
        assert landmark in page
    labelled = set(re.findall(r'<label for="([^"]+)"', page))
    for field in re.findall(r'<input id="([^"]+)"', page):
        assert field in labelled


def test_the_chat_page_has_the_button_and_counts_closed_sockets() -> None:
    page = page_of(rollout(), address="/try")
    assert '<span id="closed">0</span> closed' in page
    assert 'hx-get="/sections/try"' in page
    assert all(f'id="{section}"' in page for section in TryPage.sections)
