"""What an open page does when the service goes away and comes back, and a client of its own through a rollback."""

from __future__ import annotations

import os
import re
import signal

from playwright.sync_api import Page, expect

from ops.pictures.stage import Remote, Stage
from tests.browser.conftest import Visitor, silence


def test_a_service_that_stops_and_starts_makes_the_page_stale_and_live_again(
    visitor: Visitor, stage: Stage, remote: Remote
) -> None:
    remote.reset()
    page = visitor("/", install_clock=True)
    expect(page.locator("#live")).to_have_text("live")
    stage.stop()
    silence(page)
    expect(page.locator("#stale")).to_contain_text(re.compile(r"Stale since \d\d:\d\d:\d\d"))
    expect(page.locator("#live")).to_contain_text("stale since")
    page.locator("#do-set-10").click()
    expect(page.get_by_role("alert").filter(has_text="No answer from the service")).to_be_visible()
    stage.start()
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#live")).to_have_text("live")
    remote.reset(20)
    expect(page.locator("#headline")).to_have_text("20 % of users on v3")


def test_a_service_that_is_silent_makes_the_page_stale_too(visitor: Visitor, stage: Stage) -> None:
    page = visitor("/health")
    expect(page.locator("#live")).to_have_text("live")
    os.kill(stage.pid, signal.SIGSTOP)
    try:
        expect(page.locator("#stale")).to_contain_text("nothing is heard from the service")
    finally:
        os.kill(stage.pid, signal.SIGCONT)
    expect(page.locator("#stale")).to_be_hidden()


def test_a_page_that_was_signed_out_says_so(visitor: Visitor, stage: Stage) -> None:
    page = visitor("/")
    expect(page.locator("#live")).to_have_text("live")
    page.context.clear_cookies()
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("alert").filter(has_text="Not done")).to_be_visible()


def say(page: Page, text: str, answered: int) -> int:
    """Send a message and wait for its answer; the last seq."""
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#answered")).to_have_text(str(answered))
    return int(page.locator("#seq").inner_text())


def test_a_socket_of_ones_own_goes_through_a_rollback(visitor: Visitor, remote: Remote) -> None:
    remote.reset(100)
    page = visitor("/try")
    page.get_by_label("User", exact=True).fill("ada")
    page.get_by_role("button", name="Open a socket").click()
    expect(page.locator("#socket")).to_have_text("open")
    expect(page.locator("#served")).to_have_text("v3 the percentage, by hash of the user id")
    before = say(page, "on the new path", 1)
    assert before >= 4, "ready, ack, started, completed"
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#rollback")).to_contain_text("Verified")
    expect(page.locator("#rollback")).to_contain_text("1 of 1")
    expect(page.locator("#served")).to_have_text("v2 a rollback is in force")
    after = say(page, "on the old path", 2)
    assert after >= before + 3
    expect(page.locator("#gaps")).to_have_text("0")
    expect(page.locator("#closed")).to_have_text("0")
    expect(page.locator("#socket")).to_have_text("open")
    said = page.locator("#log p").filter(has_not_text="rollout")
    expect(said).to_have_count(after)
    expect(page.locator("#log p").filter(has_text="Everyone is on v2")).to_have_count(1)
    expect(page.locator("#log")).not_to_contain_text(re.compile(r'"resume_token":"[^…]'))
    heard = said.all_inner_texts()
    assert not [line for line in heard if re.search(r"\bv[23]\b", line)], "the socket never says which path serves it"


def test_a_slow_answer_outlives_the_rollback(visitor: Visitor, remote: Remote) -> None:
    """Messages sent while one rolls back are answered, each once."""
    remote.reset(100)
    page = visitor("/try")
    page.get_by_role("button", name="Open a socket").click()
    expect(page.locator("#socket")).to_have_text("open")
    for number in range(10):
        page.get_by_label("Message").fill(f"message {number}")
        page.get_by_role("button", name="Send").click()
        if number == 4:
            page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#answered")).to_have_text("10")
    expect(page.locator("#rollback")).to_contain_text("Verified")
    expect(page.locator("#gaps")).to_have_text("0")
    expect(page.locator("#closed")).to_have_text("0")
