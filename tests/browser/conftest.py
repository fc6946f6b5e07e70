"""One service and one browser for all, a fresh profile a test; a page that reports an error fails its test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from ops.pictures.stage import Remote, Stage, launch, staged

PATIENCE_MS = 15_000
SILENCE_MS = 6_000
expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them start real processes and a browser."""
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.needs("chromium"))


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), connections_per_user="50") as running:
        yield running


@pytest.fixture(scope="package")
def operator(stage: Stage) -> Iterator[Remote]:
    made = Remote(stage)
    yield made
    made.close()


@pytest.fixture(scope="package")
def default_plan(operator: Remote) -> str:
    """The plan that the service began with."""
    return operator.plan()


@pytest.fixture(scope="module")
def remote(operator: Remote, default_plan: str) -> Remote:
    """For the service at 0 %, with its first plan, whatever the module before did."""
    operator.reset()
    operator.apply(default_plan)
    return operator


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # Ended with this folder: while it lives, a loop seems to run in this thread, and no asynchronous test could.
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


Visitor = Callable[..., Page]


@pytest.fixture(scope="package")
def used_link(stage: Stage) -> str:
    """The sign-in link that `cookies` came by: it is good once."""
    return stage.link


@pytest.fixture(scope="package")
def cookies(used_link: str, browser: Browser) -> list[Any]:
    """What a browser holds after the sign-in link, shared by all tests. It needs no script for it."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(used_link)
    page.get_by_role("button", name="Sign in").click()
    held = [cookie for cookie in context.cookies() if cookie["name"].startswith("crossfade_session")]
    context.close()
    return held


def silence(page: Page) -> None:
    """Let as much time go by for the page as makes it stale when it hears nothing; its clock has to be `install`ed."""
    page.clock.fast_forward(SILENCE_MS)


def cut_off(page: Page) -> None:
    """From its next address on, this page hears of no change and fetches none. A worker's requests cannot be routed."""
    page.add_init_script("delete window.SharedWorker")
    page.route(re.compile("/(changes|sections/.*)$"), lambda route: route.abort())


def _trouble(message: ConsoleMessage) -> list[str]:
    """What a page complains of. A refusal is a 409 by design, and some tests cut the page off from the service."""
    expected = any(words in message.text for words in ("Failed to load resource", "Failed to fetch", "network error"))
    return [message.text] if message.type == "error" and not expected else []


@pytest.fixture
def visitor(stage: Stage, browser: Browser, cookies: list[Any]) -> Iterator[Visitor]:
    """Opens an address for somebody who is signed in; options are those of a browser's profile.

    With `install_clock`, the page's time can be put forward (`page.clock`).
    """
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def open(address: str = "/", *, install_clock: bool = False, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies(cookies)
        contexts.append(context)
        page = context.new_page()
        if install_clock:
            page.clock.install()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.extend(_trouble(message)))
        page.goto(stage.url + address)
        return page

    yield open
    for context in contexts:
        context.close()
    assert troubles == []
