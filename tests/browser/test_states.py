"""What assistive technology finds in every state of a rollout, with and without the page's scripts, in both themes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import cut_off, silence
from tests.dashboards.look import STATES
from tests.dashboards.memory import MemorySource, make_app

CHANGES = "what changes"
Theme = Literal["light", "dark"]
Opener = Callable[..., Page]
ADDRESSES = (
    "/", "/try", "/sessions", "/users/ada", "/errors", "/history", "/plan", "/health", "/rollbacks/r1", "/sign-in",
)  # fmt: skip


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture(scope="module")
def url(source: MemorySource) -> Iterator[str]:
    """The pages over a rollout in memory, which can be put into any state."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(source), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    source.end()
    thread.join(15)


@pytest.fixture
def opened(url: str, browser: Browser) -> Iterator[Opener]:
    contexts = []

    def open(address: str, theme: Theme, *, without: str = "", install_clock: bool = False) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        if install_clock:
            page.clock.install()
        if without is CHANGES:
            cut_off(page)
        elif without:
            page.route(without, lambda route: route.abort())
        page.goto(url + address)
        return page

    yield open
    for context in contexts:
        context.close()


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_in_any_state(source: MemorySource, opened: Opener, state: str, theme: Theme) -> None:
    source.show(STATES[state]())
    page = opened("/", theme)
    expect(page.locator("html.is-live")).to_be_attached()
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_a_page_that_is_stale(opened: Opener, theme: Theme) -> None:
    page = opened("/", theme, without=CHANGES, install_clock=True)
    silence(page)
    expect(page.locator("#stale")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_axe_finds_nothing_without_scripts(opened: Opener, address: str, theme: Theme) -> None:
    page = opened(address, theme, without="**/static/*.js*")
    assert page.evaluate("typeof window.htmx") == "undefined"
    assert violations(page) == []
