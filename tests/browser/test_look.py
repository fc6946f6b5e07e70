"""How the pages look and read: for assistive technology, on a phone, in both themes, in any zone, by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Dialog, Page, expect

from ops.pictures.stage import Remote, Stage
from tests.browser.conftest import Visitor

EVIL = "<script>alert(1)</script>"
PAGES = ("/", "/sessions", "/users/load-00001", "/errors", "/history", "/plan", "/health", "/try")
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module", autouse=True)
def people(stage: Stage, cookies: list[object], remote: Remote) -> Iterator[None]:
    """A rollback behind us, one rollout under way, and errors on both paths."""
    with stage.clients(20):
        remote.reset(50)
        remote.say("rollback", reason="a drill")
        remote.reset(30)
        yield


def receipt_address(remote: Remote) -> str:
    return f"/rollbacks/{remote.view()['last_rollback']['id']}"


def settled(page: Page) -> None:
    """The script has run and the first numbers are drawn."""
    page.wait_for_load_state("load")
    if page.locator("#live").count():
        expect(page.locator("html.is-live")).to_be_attached()
    if page.locator("#charts").count():
        expect(page.locator("#charts canvas")).to_have_count(4)


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", [*PAGES, "receipt", "/sign-in?out=1", "/rollbacks/none"])
def test_axe_finds_nothing(visitor: Visitor, remote: Remote, address: str, theme: Literal["light", "dark"]) -> None:
    page = visitor(receipt_address(remote) if address == "receipt" else address, color_scheme=theme)
    settled(page)
    for table in page.locator("#charts details").all():
        table.locator("summary").click()
    assert violations(page) == []


def test_axe_finds_nothing_after_a_refusal_and_in_the_list_of_keys(visitor: Visitor) -> None:
    page = visitor("/")
    settled(page)
    page.locator("#do-set-10").click()
    expect(page.locator("#message-controls")).to_contain_text("Set to 10 %")
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("address", [*PAGES, "receipt"])
def test_nothing_runs_off_the_side_of_a_phone(visitor: Visitor, remote: Remote, address: str) -> None:
    page = visitor(receipt_address(remote) if address == "receipt" else address, viewport=PHONE, has_touch=True)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("address", ["/", "/try"])
@pytest.mark.parametrize("scrolled", [0, 100_000])
def test_the_button_stays_within_the_thumbs_reach(visitor: Visitor, address: str, scrolled: int) -> None:
    page = visitor(address, viewport=PHONE, has_touch=True)
    settled(page)
    page.evaluate("place => window.scrollTo(0, place)", scrolled)
    button = page.get_by_role("button", name="Roll back")
    box = button.bounding_box()
    assert box is not None
    assert box["y"] >= PHONE["height"] * 0.6
    assert box["y"] + box["height"] <= PHONE["height"]
    assert box["height"] >= 44
    assert box["width"] >= PHONE["width"] * 0.8
    hit = page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).closest('button')?.id",
        [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2],
    )
    assert hit == "rollback-button", "nothing lies over it"


def test_the_button_is_on_the_first_screen_and_the_biggest(visitor: Visitor) -> None:
    page = visitor("/")
    settled(page)
    button = page.get_by_role("button", name="Roll back")
    expect(button).to_be_in_viewport(ratio=1)
    sizes = page.locator("button:visible").evaluate_all(
        "all => all.map(one => [one.id, one.offsetWidth * one.offsetHeight])"
    )
    assert max(sizes, key=lambda one: one[1])[0] == "rollback-button"


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1440, 900), (1920, 1080)])
def test_one_screen_says_it_all(visitor: Visitor, width: int, height: int) -> None:
    page = visitor("/", viewport={"width": width, "height": height})
    settled(page)
    for part in ("#headline", ".next", ".shares", "#rollback-button", "#rollback-effect", "#controls", "#figures"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    expect(page.locator("#charts-heading")).to_be_in_viewport(ratio=1)
    if height > 800:
        expect(page.locator("#charts")).to_be_in_viewport(ratio=0.2)


@pytest.mark.parametrize(("width", "height"), [(1366, 45), (1180, 70)])
@pytest.mark.parametrize("address", [*PAGES, "receipt"])
def test_the_top_line_is_one_line_or_two(
    visitor: Visitor, remote: Remote, address: str, width: int, height: int
) -> None:
    opened = receipt_address(remote) if address == "receipt" else address
    page = visitor(opened, viewport={"width": width, "height": 800})
    settled(page)
    box = page.locator(".bar").bounding_box()
    assert box is not None
    assert box["height"] <= height


def test_the_button_goes_along_where_one_scrolls(visitor: Visitor) -> None:
    page = visitor("/", viewport={"width": 1366, "height": 500})
    settled(page)
    page.mouse.wheel(0, 5000)
    button = page.get_by_role("button", name="Roll back")
    expect(page.locator("html.is-scrolled")).to_be_attached()
    expect(button).to_be_in_viewport(ratio=1)
    expect(button).to_be_enabled()
    page.mouse.wheel(0, -5000)
    expect(page.locator("html.is-scrolled")).to_have_count(0)


def test_the_page_stands_still_wherever_it_is_scrolled_to(visitor: Visitor) -> None:
    page = visitor("/", viewport={"width": 1280, "height": 900})
    settled(page)
    restless = page.evaluate(
        """async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const restless = [];
          for (let top = 0; top < document.documentElement.scrollHeight - innerHeight; top += 25) {
            scrollTo(0, top);
            for (let count = 0; count < 3; count += 1) await frame();
            const seen = new Set();
            for (let count = 0; count < 6; count += 1) {
              await frame();
              seen.add(document.documentElement.className);
            }
            if (seen.size > 1) restless.push(top);
          }
          return restless;
        }"""
    )
    assert restless == []


def test_keys_lead_everywhere_and_r_then_enter_rolls_back(visitor: Visitor, remote: Remote) -> None:
    page = visitor("/")
    settled(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("roll back")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("n")
    expect(page.locator("#note")).to_be_focused()
    page.keyboard.type("r is a letter here")
    expect(page.locator("#note")).to_have_value("r is a letter here")
    page.locator("#note").blur()
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("/sessions$"))
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.locator("#search").blur()
    page.keyboard.press("o")
    expect(page.locator("#rollback-button")).to_be_visible()
    page.keyboard.press("r")
    expect(page.locator("#rollback-button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#rollback")).to_contain_text("Verified")
    remote.reset(30)


@pytest.mark.parametrize(("zone", "hours"), [("Asia/Tokyo", 9), ("America/Phoenix", -7)])
def test_times_are_the_readers_and_utc_on_hover(visitor: Visitor, zone: str, hours: int) -> None:
    page = visitor("/history", timezone_id=zone)
    settled(page)
    time = page.locator("#history time").first
    utc = time.get_attribute("title")
    assert utc is not None
    found = re.fullmatch(r"\d{4}-\d\d-\d\d (\d\d):(\d\d):(\d\d) UTC", utc)
    assert found is not None
    shown = f"{(int(found[1]) + hours) % 24:02d}:{found[2]}:{found[3]}"
    expect(time).to_have_text(shown)
    top = page.locator("#top time")
    expect(top).to_have_attribute("title", re.compile(" UTC$"))
    expect(page.locator("body")).not_to_contain_text(re.compile(r"\d\d:\d\d:\d\d UTC"))


def test_charts_follow_the_span_and_say_what_they_show(visitor: Visitor) -> None:
    page = visitor("/")
    settled(page)
    chart = page.get_by_role("figure", name="Open sessions")
    plot = chart.locator(".u-over")
    box = plot.bounding_box()
    assert box is not None
    plot.hover(position={"x": box["width"] - 3, "y": 20})
    expect(chart.locator(".u-legend")).to_contain_text(re.compile(r"v2:?\s*\d+"))
    with page.expect_response(re.compile("/api/series.span=24h")):
        page.get_by_role("link", name="24 h").click()
    expect(page).to_have_url(re.compile(r"\?span=24h"))
    expect(page.locator("[data-span='24h']")).to_have_attribute("aria-current", "true")
    page.reload()
    settled(page)
    expect(page.locator("[data-span='24h']")).to_have_attribute("aria-current", "true")
    chart.locator("summary").click()
    expect(chart.locator("[data-table] tr").first).to_contain_text("rolled back")


def test_a_user_id_of_markup_is_text_everywhere(visitor: Visitor) -> None:
    page = visitor("/try")
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.get_by_label("User", exact=True).fill(EVIL)
    page.get_by_role("button", name="Open a socket").click()
    expect(page.locator("#socket")).to_have_text("open")
    other = visitor("/sessions?q=script")
    other.on("dialog", dismiss)
    other.get_by_role("link", name=EVIL).click()
    expect(other.get_by_role("heading", level=1)).to_contain_text(EVIL)
    other.get_by_label("Reason").fill(EVIL)
    other.get_by_role("button", name="Pin to v2").click()
    expect(other.locator("#headline")).to_contain_text(EVIL)
    other.goto(other.url.partition("/users")[0] + "/history")
    expect(other.locator("#history li").first).to_contain_text(f"pin {EVIL} to v2")
    assert dialogs == []
