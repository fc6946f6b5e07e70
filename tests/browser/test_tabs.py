"""Eight pages of one browser, which opens six connections to a service: all load, and a click is heard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from ops.pictures.stage import Remote, Stage
from tests.browser.conftest import Visitor

TABS = 8
NO_WORKER = "delete window.SharedWorker"
FAILING_WORKER = "window.SharedWorker = class extends SharedWorker { constructor() { super('/static/nothing.js'); } }"
HIDDEN = "Object.defineProperty(document, 'hidden', { configurable: true, get: () => window.name === 'hidden' })"


def live(page: Page) -> None:
    expect(page.locator("html.is-live")).to_be_attached()


@pytest.mark.parametrize("script", ["", NO_WORKER, FAILING_WORKER], ids=["worker", "no worker", "worker fails"])
def test_eight_pages_load_follow_a_change_and_a_click_in_the_last_rolls_back(
    visitor: Visitor, stage: Stage, remote: Remote, script: str
) -> None:
    remote.reset(50)
    first = visitor("/sign-in?out=1")
    if script:
        first.context.add_init_script(script)
    pages = [first, *(first.context.new_page() for _ in range(TABS - 1))]
    for page in pages:
        page.goto(stage.url)
        live(page)
    remote.reset(40)
    for page in pages:
        expect(page.locator("#headline")).to_have_text("40 % of users on v3")
        live(page)
    pages[-1].get_by_role("button", name="Roll back").click()
    for page in pages[::-1]:
        expect(page.locator("#headline")).to_have_text("Everyone is on v2")
        expect(page).to_have_title("■ rolled back \N{EN DASH} Crossfade")
    assert remote.view()["phase"] == "rolled_back"


def test_a_hidden_page_fetches_nothing_and_keeps_title_and_icon_and_comes_back_at_once(
    visitor: Visitor, stage: Stage, remote: Remote
) -> None:
    remote.reset(20)
    page = visitor("/sign-in?out=1")
    page.context.add_init_script(HIDDEN)
    page.goto(stage.url)
    expect(page.locator("#headline")).to_have_text("20 % of users on v3")
    page.evaluate("window.name = 'hidden'; document.dispatchEvent(new Event('visibilitychange'))")
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url) if "/icons/" not in request.url else None)
    remote.say("rollback")
    expect(page).to_have_title("■ rolled back \N{EN DASH} Crossfade")
    expect(page.locator("#icon")).to_have_attribute("href", re.compile("rolled_back"))
    assert fetched == []
    assert page.locator("#headline").inner_text() == "20 % of users on v3"
    page.evaluate("window.name = ''; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#headline")).to_have_text("Everyone is on v2")


def test_a_page_about_something_else_keeps_its_title_and_has_the_icon(visitor: Visitor, remote: Remote) -> None:
    remote.reset(20)
    page = visitor("/errors")
    live(page)
    remote.say("rollback")
    expect(page.locator("#icon")).to_have_attribute("href", re.compile("rolled_back"))
    expect(page).to_have_title("Errors \N{EN DASH} Crossfade")


def test_a_click_says_at_once_that_it_was_sent_and_then_that_nobody_answers(visitor: Visitor, remote: Remote) -> None:
    remote.reset(20)
    page = visitor("/")
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/act/rollback", hold)
    page.get_by_role("button", name="Roll back").click()
    message = page.locator("#message-rollback")
    expect(message).to_have_text(re.compile(r"^Sent at \d\d:\d\d:\d\d\.$"))
    expect(message.get_by_role("alert")).to_contain_text("no answer yet. The service is heard")
    waiting[0].continue_()
    expect(message).to_contain_text("The rollback is in force")
    expect(page.locator("#headline")).to_have_text("Everyone is on v2")


def test_a_service_whose_streams_do_not_come_through_is_shown_all_the_same(visitor: Visitor, remote: Remote) -> None:
    """Some proxies hold streams back."""
    remote.reset(20)
    page = visitor("/sign-in?out=1")
    page.context.add_init_script(NO_WORKER)
    page.route("**/changes", lambda route: route.abort())
    page.get_by_label("Token")
    page.goto(page.url.replace("/sign-in?out=1", "/"))
    remote.reset(30)
    expect(page.locator("#headline")).to_have_text("30 % of users on v3")
    live(page)


def test_pages_without_a_worker_give_their_stream_up_when_they_are_left(
    visitor: Visitor, stage: Stage, remote: Remote
) -> None:
    page = visitor("/sign-in?out=1")
    page.context.add_init_script(NO_WORKER)
    for _ in range(6):  # more than a browser may have
        with page.expect_response("**/changes") as answer:
            page.goto(f"{stage.url}/health")
        assert answer.value.status == 200
        live(page)
