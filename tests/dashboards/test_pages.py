"""The pages over HTTP: what is on them, the flow without a script, the fragments with one, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dashboards.overview import OverviewPage
from dashboards.try_page import TryPage
from rollout.names import TokenRole
from rollout.views import RolloutView
from tests.dashboards.memory import (
    NO_FIGURES,
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

EVIL = '<script>alert(1)</script>"><hx-partial hx-target="#main"><img src=x onerror=alert(2)>'
PHASES = [("idle", 0), ("progressing", 10), ("paused", 33), ("completed", 100), ("rolled_back", 0)]


class Browser:
    """One person in front of the pages; `token` is what the form on the last page carried."""

    def __init__(self, source: MemorySource, client: TestClient[Litestar]) -> None:
        self.source, self.client = source, client

    def get(self, address: str = "/") -> httpx.Response:
        return self.client.get(address, follow_redirects=False)

    def click(
        self, verb: str, fields: dict[str, str] | None = None, *, script: bool = False, live: bool = False
    ) -> httpx.Response:
        found = re.search(r'name="_csrf_token" value="([^"]+)"', self.get().text)
        data = {"_csrf_token": found.group(1) if found else "", **(fields or {})}
        headers = {"HX-Request": "true", "Crossfade-Live": str(live).lower()} if script else {}
        return self.client.post(f"/act/{verb}", data=data, headers=headers, follow_redirects=False)


@pytest.fixture
def browser() -> Iterator[Browser]:
    yield from _open(MemorySource())


def _open(source: MemorySource) -> Iterator[Browser]:
    with TestClient(make_app(source)) as client:
        yield Browser(source, client)


def page_of(view: RolloutView, role: TokenRole = "manager", address: str = "/") -> str:
    with TestClient(make_app(MemorySource(view, role))) as client:
        response = client.get(address)
    assert response.status_code == 200
    return response.text


def button(page: str, identity: str) -> str:
    found = re.search(rf'<button[^>]* id="{identity}"[^>]*>', page)
    assert found is not None, identity
    return found.group()


@pytest.mark.parametrize(("phase", "percentage"), PHASES)
@pytest.mark.parametrize("address", ["/", "/try", "/history"])
def test_every_page_renders_in_every_phase(phase: str, percentage: int, address: str) -> None:
    page = page_of(rollout(phase, percentage), address=address)
    assert "<h1" in page
    if address != "/history":
        assert len(re.findall("<main", page)) == len(re.findall("<h1", page)) == 1
        assert 'id="rollback-button"' in page


def test_the_overview_says_it_all(browser: Browser) -> None:
    page = browser.get().text
    for words in (
        "<title>● 10 % baking \N{EN DASH} Crossfade</title>",
        "10 % of users on v3",
        "Next: 50 % in 17:56",
        "257 of 61,204 messages",
        "+0.03 points",
        "p99 29 ms",
        "p50 7.0 ms",
        "39.0 KiB",
        "b7c9e21",
        "set 10 %",
        "ada (manager)",
        "production",
        "USE_WEBSOCKET_SUPERVISOR_V3",
        "Unleash in step",
        "2 cells",
    ):
        assert words in page, words


def test_nobody_signed_in_is_sent_to_the_form_and_a_script_is_told() -> None:
    with TestClient(make_app(MemorySource(role=None))) as client:
        for address in ("/", "/try", "/history", "/preview?typed=3", "/stream/overview"):
            response = client.get(address, follow_redirects=False)
            assert (response.status_code, response.headers["location"].partition("?")[0]) == (303, "/sign-in")
        assert client.get("/stream/overview", headers={"HX-Request": "true"}).status_code == 401
        form = client.get("/sign-in").text
    assert 'action="/sign-in/token"' in form
    assert 'name="token"' in form
    assert re.search(r'name="_csrf_token" value="\w{64,}"', form)


def test_one_click_rolls_back_without_a_script_a_dialog_or_a_revision(browser: Browser) -> None:
    response = browser.click("rollback")
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert browser.source.commands == [("rollback", None, "", None, "ada")]
    page = browser.get().text
    assert "■ rolled back" in page
    assert "Verified 14:13:19 UTC" in page
    assert "disabled" in button(page, "rollback-button")


def test_with_a_script_a_click_brings_back_the_sections_and_what_became_of_it(browser: Browser) -> None:
    response = browser.click("rollback", script=True)
    assert response.status_code == 200
    assert re.findall(r'<hx-partial hx-target="#([\w-]+)"', response.text) == [
        *OverviewPage.sections,
        "message-rollback",
        "message-controls",
    ]
    assert "Everyone is on v2" in response.text
    assert "<html" not in response.text


def test_a_page_that_hears_its_stream_is_told_only_what_became_of_the_click(browser: Browser) -> None:
    """An answer may come after what the stream has said since, and the stream says each thing once."""
    response = browser.click("rollback", script=True, live=True)
    assert re.findall(r'<hx-partial hx-target="#([\w-]+)"', response.text) == ["message-rollback", "message-controls"]
    assert browser.source.commands == [("rollback", None, "", None, "ada")]


@pytest.mark.parametrize(
    ("verb", "fields", "command"),
    [
        ("set", {"percentage": "100", "typed": "25", "revision": "17", "reason": " why "}, (100, "why", 17)),
        ("set", {"custom": "1", "typed": "25", "revision": "17", "reason": ""}, (25, "", 17)),
        ("promote", {"full": "1", "typed": "", "revision": "17"}, (100, "", 17)),
        ("pause", {"percentage": "", "typed": "25", "revision": "17"}, (None, "", 17)),
        ("unlock", {"percentage": "", "reason": "fixed in b8", "revision": "x"}, (None, "fixed in b8", None)),
    ],
)
def test_the_form_reaches_the_service_as_it_was_meant(
    browser: Browser, verb: str, fields: dict[str, str], command: tuple[int | None, str, int | None]
) -> None:
    browser.click(verb, fields)
    assert browser.source.commands == [(verb, *command, "ada")]


@pytest.mark.parametrize("typed", ["", "101", "-1", "10.5", "ten", "\u0661\u0660", "9" * 30])
def test_what_is_no_whole_percentage_never_reaches_the_service(browser: Browser, typed: str) -> None:
    response = browser.click("set", {"custom": "1", "typed": typed, "revision": "17"})
    assert response.status_code == 409
    assert "a percentage is a whole number, 0 to 100" in response.text
    assert browser.source.commands == []


@pytest.mark.parametrize("script", [True, False])
def test_a_refusal_is_shown_where_the_click_was_and_changes_nothing(browser: Browser, script: bool) -> None:
    response = browser.click("pause", {"revision": "3"}, script=script)
    assert response.status_code == 409
    assert 'role="alert">Refused: someone else changed it first: ada set 10 %' in response.text
    assert "10 % of users on v3" in response.text


def test_a_refused_rollback_says_so_beside_its_button(browser: Browser) -> None:
    browser.source.refusal = "the disk is full"
    page = browser.click("rollback").text
    place = page.index('id="message-rollback"')
    assert place < page.index("Refused: the disk is full") < page.index('id="message-controls"')


def test_a_post_without_the_forms_token_does_nothing(browser: Browser) -> None:
    browser.get()
    response = browser.client.post("/act/rollback", data={"_csrf_token": "0" * 128})
    assert response.status_code == 403
    assert "Reload the page and try again." in response.text
    assert browser.source.commands == []


def test_an_unknown_verb_is_no_command(browser: Browser) -> None:
    assert browser.click("destroy").status_code in (400, 404)
    assert browser.source.commands == []


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
    for browser in _open(source):
        source.refusal = EVIL
        source.people, source.groups = [session(EVIL)], [group(EVIL, only=True, reference=EVIL)]
        addresses = ["/", "/try", "/history", "/sessions", "/errors", "/rollbacks/r1", f"/users/{quote(EVIL, safe='')}"]
        addresses += [f"/sessions?q={quote(EVIL)}", f"/history?q={quote(EVIL)}"]
        texts = [browser.get(address).text for address in addresses]
        texts += [browser.click("rollback", script=script).text for script in (True, False)]
        for text in texts:
            assert "&lt;script&gt;alert(1)" in text
            assert "<script>" not in text
            assert "<img" not in text
            assert text.count('hx-target="#main"') == 0


def test_no_data_is_grey_and_neither_good_nor_bad() -> None:
    view = rollout(
        paths=[path("v2", **NO_FIGURES), path("v3", **NO_FIGURES)], verdicts=no_verdicts(), unleash="embedded"
    )
    page = page_of(view)
    figures = page[page.index('id="figures"') : page.index('id="charts"')]
    assert figures.count('<span class="figure none">no data</span>') == 6
    for colour in ("tone-good", "tone-bad", "fill-good", "fill-bad", "0 %", "0.00", "None", "nan"):
        assert colour not in figures, colour


@pytest.mark.parametrize(("phase", "percentage"), PHASES)
def test_what_cannot_be_done_is_disabled_and_says_why(phase: str, percentage: int) -> None:
    view = rollout(phase, percentage)
    page = page_of(view)
    for verb in ("start", "promote", "pause", "resume", "undo", "unlock"):
        reason = view.allowed[verb]
        assert ("disabled" in button(page, f"do-{verb}")) == bool(reason)
        described = re.search(r'aria-describedby="([^"]+)"', button(page, f"do-{verb}"))
        assert described is not None
        said = re.search(rf'id="{described.group(1)}">([^<]*)<', page)
        assert said is not None
        assert said.group(1)
        assert not reason or said.group(1) == reason


def test_a_viewer_sees_the_button_and_why_it_is_not_theirs() -> None:
    page = page_of(rollout(), "viewer")
    assert "disabled" in button(page, "rollback-button")
    assert "needs the role oncall; you are viewer" in page


def test_presets_say_their_effect_before_the_click(browser: Browser) -> None:
    page = browser.get().text
    assert "moves 1,000 users and 180 open sessions back to v2" in page
    assert "moves 9,000 users and 1,620 open sessions to v3, none back" in page
    assert "moves 1,500 users and 270 open sessions to v3" in browser.get("/preview?typed=25").text
    assert "a whole percentage, 0 to 100" in browser.get("/preview?typed=2.5").text


def test_previews_are_asked_for_once_for_all_open_pages(browser: Browser) -> None:
    for _ in range(5):
        browser.get()
    assert browser.source.previews_asked == 1
    browser.source.show(rollout("paused", 20, revision=18))
    assert "moves 2,000 users" in browser.get().text


def test_enter_in_a_field_presses_no_button(browser: Browser) -> None:
    page = browser.get().text
    form = page[page.index('id="change"') :]
    first = re.search(r"<button[^>]*>", form)
    assert first is not None
    assert first.group() == '<button type="submit" disabled hidden>'


def test_history_goes_back_page_by_page(browser: Browser) -> None:
    browser.source.audit = [entry(number, f"note {number}.") for number in range(60, 0, -1)]
    assert 'href="/history?before=53"' in browser.get().text
    first = browser.get("/history").text
    older = re.search(r'href="(/history\?before=\d+)"', first)
    assert older is not None
    second = browser.get(older.group(1)).text
    assert "note 11." in first
    assert "note 10." not in first
    assert "note 10." in second
    assert "note 1." in second
    assert ">Older<" not in second


def test_every_answer_is_guarded_and_nothing_is_inline_or_from_elsewhere(browser: Browser) -> None:
    for address in ("/", "/try", "/history", "/sign-in"):
        response = browser.get(address)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on|<script(?![^>]* src=)", response.text)
        for link in re.findall(r'(?:src|href|action|formaction|hx-\w+(?::\w+)?)="([^"]*)"', response.text):
            assert not urlsplit(link).netloc, link


def test_every_static_file_a_page_names_is_there(browser: Browser) -> None:
    links = {link for address in ("/", "/try") for link in re.findall(r'"(/static/[^"]+)"', browser.get(address).text)}
    assert len(links) >= 6
    for link in links:
        response = browser.get(link)
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]


def test_names_for_assistive_technology(browser: Browser) -> None:
    page = browser.get().text
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
    assert 'hx-sse:connect="/stream/try"' in page
    assert all(f'id="{section}"' in page for section in TryPage.sections)


@pytest.mark.parametrize("address", ["/", "/health"])
def test_the_service_says_which_cell_is_silent(address: str) -> None:
    cell = {"name": "d", "revision": 1, "sessions": 1, "has_lock": False, "silent_s": 2.4}
    assert "1 of 1 cell: d silent for 2 s" in page_of(rollout(cells=[{**cell, "silent": True}]), address=address)
    assert "silent" not in page_of(rollout(cells=[{**cell, "silent": False}]), address=address)
