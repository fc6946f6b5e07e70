"""The pages beside the overview in a browser: each is live, says when it is not, and does what it offers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from ops.pictures.stage import Remote, Stage
from tests.browser.conftest import Visitor, silence


@pytest.fixture(scope="module", autouse=True)
def people(stage: Stage, cookies: list[object], remote: Remote) -> Iterator[None]:
    """Some clients, and a rollback behind us."""
    with stage.clients(12):
        remote.reset(50)
        remote.say("rollback", reason="a drill")
        remote.reset(30)
        yield


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


def address_of(page: str, remote: Remote) -> str:
    return f"/rollbacks/{remote.view()['last_rollback']['id']}" if page == "receipt" else page


@pytest.mark.parametrize(
    "address", ["/sessions", "/users/load-00001", "/errors", "/history", "/plan", "/health", "receipt"]
)
def test_a_cut_stream_is_stale_since_and_live_again(
    visitor: Visitor, stage: Stage, remote: Remote, address: str
) -> None:
    page = visitor(address_of(address, remote), install_clock=True)
    expect(page.locator("#live")).to_have_text("live")
    os.kill(stage.pid, signal.SIGSTOP)
    try:
        silence(page)
        expect(page.locator("#stale")).to_contain_text(re.compile(r"^Stale since \d\d:\d\d:\d\d"))
        expect(page.locator("#live")).to_contain_text("stale since")
    finally:
        os.kill(stage.pid, signal.SIGCONT)
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#live")).to_have_text("live")


def test_a_users_page_follows_what_others_do_and_keeps_what_is_being_typed(visitor: Visitor, remote: Remote) -> None:
    one, other = visitor("/users/load-00003"), visitor("/users/load-00003")
    expect(one.locator("#live")).to_have_text("live")
    one.get_by_label("Reason").fill("half a sen")
    before = "v2" if "is on v2" in one.locator("#headline").inner_text() else "v3"
    target = "v3" if before == "v2" else "v2"
    pin(other, f"Pin to {target}")
    expect(one.locator("#headline")).to_have_text(f"load-00003 is on {target}")
    expect(one.get_by_role("button", name=f"Pin to {target}")).to_be_disabled()
    expect(one.get_by_label("Reason")).to_have_value("half a sen")
    pin(other, "Unpin")
    expect(one.locator("#headline")).to_have_text(f"load-00003 is on {before}")


def pin(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def test_a_receipt_grows_while_one_looks(visitor: Visitor, remote: Remote) -> None:
    page = visitor(address_of("receipt", remote))
    expect(page.locator("#live")).to_have_text("live")
    remote.note("nobody complains")
    expect(page.locator("#history")).to_contain_text("nobody complains")


def test_a_plan_is_compared_and_put_in_force_without_a_script(visitor: Visitor, remote: Remote) -> None:
    page = visitor("/plan", java_script_enabled=False)
    shorter = page.locator("#plan pre").inner_text().replace('bake = "14d"', 'bake = "21d"')
    page.get_by_label("or a file").set_input_files(
        {"name": "plan.toml", "mimeType": "application/toml", "buffer": shorter.encode()}
    )
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#changes")).to_have_text("Stage 100 %: bakes 21d instead of 14d.")
    page.get_by_label("Reason").fill("holidays")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile("/plan$"))
    expect(page.locator("#plan table")).to_contain_text("21d")
    assert remote.view()["reason"] == "holidays"


def test_a_plan_that_is_old_by_now_is_refused_and_the_page_beside_it_is_live(visitor: Visitor, remote: Remote) -> None:
    page = visitor("/plan")
    expect(page.locator("#live")).to_have_text("live")
    toml = page.get_by_label("TOML", exact=True)
    toml.fill('name = "late"\n[[stage]]\npercentage = 25\nbake = "1h"\n')
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#changes")).to_contain_text("Its name is late instead of default.")
    revision = remote.view()["revision"]
    remote.say("percentage", percentage=31 if remote.view()["percentage"] != 31 else 32)
    expect(page.locator("#plan")).to_contain_text(f"Revision {revision + 1}")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert").filter(has_text="Refused: the rollout changed meanwhile")).to_be_visible()
    expect(toml).to_have_value('name = "late"\n[[stage]]\npercentage = 25\nbake = "1h"\n')
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Plan late")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
@pytest.mark.parametrize(
    "address", ["/sessions?q=load-00001", "/users/load-00001", "/plan", "/health", "receipt", "/sign-in?out=1"]
)
def test_axe_finds_nothing_with_and_without_a_script(
    visitor: Visitor, remote: Remote, address: str, script: bool, theme: Literal["light", "dark"]
) -> None:
    page = visitor("/sign-in?out=1", color_scheme=theme)
    if not script:  # axe is a script itself: the page's own are kept away from it
        page.route("**/*.js?*", lambda route: route.abort())
    page.goto(page.url.partition("/sign-in")[0] + address_of(address, remote))
    if page.locator("#live").count():
        expect(page.locator("#live")).to_have_text("live" if script else "not live: reload to update")
    for folded in page.locator("main details").all():
        folded.locator("summary").click()
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_a_plan_that_was_checked(visitor: Visitor, theme: Literal["light", "dark"]) -> None:
    for toml in ('name = "x"\n[[stage]]\npercentage = 140\n', 'name = "x"\n[[stage]]\npercentage = 40\nbake = "1h"\n'):
        page = visitor("/plan", color_scheme=theme)
        page.get_by_label("TOML", exact=True).fill(toml)
        page.get_by_role("button", name="Check").click()
        expect(page.locator("#check")).to_contain_text(re.compile("1h|mistake|no mistakes"))
        assert violations(page) == []


@pytest.mark.parametrize("address", ["/sessions?q=load-00001", "/users/load-00001", "/plan", "/health", "receipt"])
def test_all_of_it_fits_on_a_phone(visitor: Visitor, remote: Remote, address: str) -> None:
    page = visitor(address_of(address, remote), viewport={"width": 390, "height": 844}, has_touch=True)
    for folded in page.locator("main details").all():
        folded.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_way_back_leads_to_the_page_that_was_asked_for(stage: Stage, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stage.url}/users/a%2Fb%20c")
    page.get_by_label("Token").fill(stage.token("viewer"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^a/b c would be on v"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    context.close()


def test_a_user_is_pinned_from_the_list_with_a_reason(visitor: Visitor, remote: Remote) -> None:
    page = visitor("/sessions?q=load-00005", java_script_enabled=False)
    expect(page.get_by_label("User", exact=True)).to_have_value("load-00005")
    page.get_by_label("Reason").fill("asked for it")
    page.get_by_role("button", name="Pin to v3").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("load-00005 is on v3")
    expect(page.locator("main")).to_contain_text("v3 as long as it is pinned")
    page.get_by_role("button", name="Unpin").click()
    expect(page.locator("main")).not_to_contain_text("as long as it is pinned")
    page.goto(page.url.partition("/users")[0] + "/history")
    expect(page.locator("#history")).to_contain_text("asked for it")


def test_the_icon_tells_the_state_on_a_page_that_stays_open(visitor: Visitor, remote: Remote) -> None:
    page = visitor("/health")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#icon")).not_to_have_attribute("href", re.compile("rolled_back"))
    remote.say("rollback", reason="a drill")
    expect(page.locator("#icon")).to_have_attribute("href", re.compile("rolled_back"))
    remote.reset(30)
