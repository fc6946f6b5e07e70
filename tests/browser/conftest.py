"""One service a module, one browser for all, a fresh profile a test; a page that reports an error fails its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from ops.pictures.stage import Remote, Stage, launch, staged

PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them start real processes and a browser."""
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.needs("chromium"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), connections_per_user="50") as running:
        yield running


@pytest.fixture(scope="module")
def remote(stage: Stage) -> Iterator[Remote]:
    made = Remote(stage)
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Ended with its module: while it lives, a loop seems to run in this thread, and no asynchronous test could.
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


Visitor = Callable[..., Page]


@pytest.fixture(scope="module")
def cookies(stage: Stage, browser: Browser) -> list[Any]:
    """What a browser holds after the sign-in link: it is good once, so that the tests share it."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(stage.link)
    held = [cookie for cookie in context.cookies() if cookie["name"] == "crossfade_session"]
    context.close()
    return held


def _trouble(message: ConsoleMessage) -> list[str]:
    """What a page complains of. A refusal is a 409 by design, and some tests cut the page off from the service."""
    expected = any(words in message.text for words in ("Failed to load resource", "Failed to fetch", "network error"))
    return [message.text] if message.type == "error" and not expected else []


@pytest.fixture
def visitor(stage: Stage, browser: Browser, cookies: list[Any]) -> Iterator[Visitor]:
    """Opens an address for somebody who is signed in; options are those of a browser's profile."""
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def open(address: str = "/", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies(cookies)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.extend(_trouble(message)))
        page.goto(stage.url + address)
        return page

    yield open
    for context in contexts:
        context.close()
    assert troubles == []
