"""Somebody clicks through a service that a proxy shows under a path: nothing is asked for beside the path."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Response, expect

from ops.pictures.stage import staged
from tests.prefix_proxy import proxied

ROOT = "/crossfade"
LIVE = re.compile(r"^\s*live")
PAGES = ("Sessions", "Errors", "History", "Plan", "Health", "Try", "Overview")


def test_a_service_under_a_path_is_clicked_through(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        staged(tmp_path_factory.mktemp("rooted"), root_path=ROOT) as stage,
        proxied(stage.port, ROOT, strip=True) as proxy,
    ):
        context = browser.new_context()
        page = context.new_page()
        failed: list[str] = []

        def look(answer: Response) -> None:
            if answer.status >= 400:
                failed.append(f"{answer.status} {answer.url}")

        context.on("response", look)
        page.goto(f"http://{proxy.base}/plan")
        page.get_by_label("Token").fill(stage.token("manager"))
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"http://{proxy.base}/plan")
        for name in PAGES:
            page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
            expect(page).to_have_url(re.compile(re.escape(f"http://{proxy.base}/")))
            expect(page.locator("#live")).to_have_text(LIVE)
        page.locator("#do-start").click()
        expect(page.locator("#message-controls")).to_contain_text("Started.")
        page.locator("#typed").fill("40")
        expect(page.locator("#typed-effect")).not_to_be_empty()
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Try").click()
        page.get_by_role("button", name="Open a socket").click()
        expect(page.locator("#socket")).to_have_text("open")
        expect(page.locator("#served")).not_to_have_text("not open")
        page.locator("#rollback-button").click()
        expect(page.locator("#rollback .receipt").get_by_role("heading")).to_contain_text("Verified")
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(re.compile(re.escape(f"http://{proxy.base}/sign-in")))
        context.close()
    assert proxy.missed == []
    assert failed == []
