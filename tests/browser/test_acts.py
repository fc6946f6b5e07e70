"""What people do on the pages: sign in, change the percentage, roll back, undo, unlock, and collide with each other."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from ops.pictures.stage import Remote, Stage
from tests.browser.conftest import Visitor, cut_off

THREE_STEPS = "\n".join(
    ['name = "three"', *(f'[[stage]]\npercentage = {share}\nbake = "1h"' for share in (10, 50, 100))]
)


@pytest.fixture(scope="module", autouse=True)
def people(stage: Stage, cookies: list[object], remote: Remote) -> Iterator[None]:
    """Thirty clients that talk, so that something can be moved."""
    with stage.clients(30):
        yield


@pytest.fixture(autouse=True)
def begin(remote: Remote) -> None:
    remote.reset()


def headline(page: Page, text: str) -> None:
    expect(page.locator("#headline")).to_have_text(text)


def test_the_link_signs_in_once(stage: Stage, browser: Browser, used_link: str, cookies: list[object]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(used_link)
    expect(page.get_by_role("alert")).to_contain_text("this link was used already")
    page.goto(stage.url)
    expect(page).to_have_url(f"{stage.url}/sign-in")
    context.close()


def test_a_token_signs_in_and_signing_out_ends_it(stage: Stage, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(stage.url)
    page.get_by_label("Token").fill("cf_nonsense")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("this token is not valid")
    page.get_by_label("Token").fill(stage.token("oncall"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".who")).to_contain_text("(oncall)")
    [held] = [cookie for cookie in context.cookies() if cookie["name"].startswith("crossfade_session")]
    assert held["httpOnly"]
    assert held["sameSite"] == "Lax"
    expect(page.locator("#do-start")).to_be_disabled()
    expect(page.locator(".not-now li", has=page.locator("#do-start"))).to_contain_text(
        "needs the role manager; you are oncall"
    )
    page.get_by_role("button", name="Sign out").click()
    page.goto(stage.url)
    expect(page).to_have_url(f"{stage.url}/sign-in")
    context.close()


def test_a_percentage_says_its_effect_and_then_has_it(visitor: Visitor) -> None:
    page = visitor()
    headline(page, "Everyone is on v2")
    expect(page.locator("#figures")).to_contain_text("30")
    page.get_by_label("Another percentage").fill("40")
    expect(page.locator("#typed-effect")).to_contain_text("to v3, none back")
    page.get_by_label("Reason").fill("a tenth went well")
    page.get_by_role("button", name="Set %").click()
    headline(page, "40 % of users on v3")
    expect(page).to_have_title("● 40 % baking \N{EN DASH} Crossfade")
    expect(page.locator("#history li").first).to_contain_text("a tenth went well")
    expect(page.get_by_label("Reason")).to_have_value("")


def test_all_that_is_left_of_the_plan_may_be_skipped_at_once(visitor: Visitor, remote: Remote) -> None:
    remote.apply(THREE_STEPS)
    remote.reset(10)
    page = visitor()
    headline(page, "10 % of users on v3")
    full = page.get_by_role("button", name="Promote to 100 % at once")
    expect(full).to_have_accessible_description(re.compile(r"skips 1 stage; moves \d+ users .* to v3, none back"))
    full.click()
    headline(page, "Everyone is on v3")
    expect(page.locator("#message-controls")).to_contain_text("Promoted to 100 %.")


def test_one_click_rolls_back_and_says_what_was_seen(visitor: Visitor, remote: Remote) -> None:
    remote.reset(50)
    page = visitor()
    headline(page, "50 % of users on v3")
    page.get_by_role("button", name="Roll back").click()
    receipt = page.locator("#rollback .receipt")
    expect(receipt.get_by_role("heading")).to_contain_text("Verified")
    expect(receipt).to_contain_text("sockets closed0")
    headline(page, "Everyone is on v2")
    expect(page).to_have_title("■ rolled back \N{EN DASH} Crossfade")
    expect(page.locator("#icon")).to_have_attribute("href", re.compile("rolled_back"))
    expect(page.get_by_role("button", name="Rolled back")).to_be_disabled()
    receipt.get_by_role("link", name="The whole receipt").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Rollback")
    expect(page.locator("#charts canvas")).to_have_count(4)
    expect(page.locator("#history")).to_contain_text("rollback")


def test_everybody_who_looks_sees_it_at_once(visitor: Visitor, remote: Remote) -> None:
    remote.reset(50)
    one, other = visitor(), visitor()
    headline(other, "50 % of users on v3")
    one.get_by_role("button", name="Roll back").click()
    headline(other, "Everyone is on v2")
    expect(other.locator("#rollback")).to_contain_text("Verified")


def test_two_browsers_at_once_and_the_second_is_told_who_was_faster(visitor: Visitor, remote: Remote) -> None:
    remote.reset(10)
    late = visitor("/try")
    cut_off(late)
    late.goto(late.url.replace("/try", "/"))
    headline(late, "10 % of users on v3")
    first = visitor()
    first.get_by_label("Another percentage").fill("30")
    first.get_by_role("button", name="Set %").click()
    headline(first, "30 % of users on v3")
    late.locator("#do-set-100").click()
    alert = late.locator("#message-controls").get_by_role("alert")
    expect(alert).to_contain_text("Refused: the rollout changed meanwhile: operator did set 30 %")
    headline(late, "30 % of users on v3")
    assert remote.view()["percentage"] == 30


def test_unlock_wants_a_reason_and_undo_brings_back(visitor: Visitor, remote: Remote) -> None:
    remote.reset(50)
    page = visitor()
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#rollback")).to_contain_text("Verified")
    page.get_by_role("button", name="Unlock").click()
    expect(page.locator("#message-controls")).to_contain_text("needs a reason")
    page.get_by_role("button", name="Undo the rollback").click()
    headline(page, "50 % of users on v3")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#rollback")).to_contain_text("Verified")
    page.get_by_label("Reason").fill("fixed in b8")
    page.get_by_role("button", name="Unlock").click()
    headline(page, "Everyone is on v2")
    expect(page.locator("#state")).not_to_contain_text("Locked")


def test_without_a_script_the_forms_do_it_all(visitor: Visitor, remote: Remote) -> None:
    remote.reset(50)
    page = visitor(java_script_enabled=False)
    headline(page, "50 % of users on v3")
    expect(page.locator("#live")).to_have_text("not live: reload to update")
    page.locator("#note").fill("no script here")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#history li").first).to_contain_text("no script here")
    page.locator("#charts summary").first.click()
    expect(page.locator("#charts tbody").first).to_be_visible()
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("button", name="Rolled back")).to_be_disabled()
    expect(page.locator("#rollback .receipt")).to_contain_text("sessions moved")


def test_a_user_is_found_explained_and_pinned(visitor: Visitor, remote: Remote) -> None:
    page = visitor("/sessions")
    page.get_by_label("User contains").fill("00007")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="load-00007").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("load-00007 is on v2")
    page.get_by_label("Reason").fill("a tester")
    page.get_by_role("button", name="Pin to v3").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("load-00007 is on v3")
    expect(page.locator("main")).to_contain_text("pinned by a person")
    page.get_by_role("button", name="Unpin").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("load-00007 is on v2")


def test_a_plan_is_checked_in_words(visitor: Visitor) -> None:
    page = visitor("/plan")
    page.get_by_label("TOML", exact=True).fill('name = "x"\n[[stage]]\npercentage = 140\n')
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#check-heading").locator("..")).to_contain_text("line 3: stage[1].percentage")
