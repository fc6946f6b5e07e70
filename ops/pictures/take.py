"""Takes the README's pictures: `python -m ops.pictures.take [NAME …]`; takes about five minutes.

There are three services with real clients, one of them with a v3 that sometimes fails; nothing in the pictures is made
up.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from ops.pictures.stage import Remote, Stage, launch, staged

FOLDER = Path(__file__).parent
LIMIT_BYTES = 250_000
SCREEN = {"width": 1366, "height": 768}
TALL = {"width": 1366, "height": 1100}
ABOVE_SETTINGS = {"width": 1366, "height": 680}
CHAT = {"width": 1366, "height": 860}
PHONE = {"width": 390, "height": 844}
CLIENTS = 120
PATIENCE_MS = 20_000
LIFE_MS = 45_000
"""Seconds before and after a step, so that the charts have something to show."""
FAULTS = '{"v3": {"error_rate": 0.15}}'


class Camera:
    """A signed-in browser until the block ends."""

    def __init__(self, stage: Stage, browser: Browser) -> None:
        self._stage = stage
        self._browser = browser
        context = browser.new_context()
        page = context.new_page()
        page.goto(stage.link)
        page.get_by_role("button", name="Sign in").click()
        self._cookies: list[Any] = [one for one in context.cookies() if one["name"].startswith("crossfade_session")]
        context.close()

    @contextmanager
    def at(self, address: str, **options: Any) -> Iterator[Page]:
        """Open a page and wait until it is live and its charts are drawn."""
        context = self._browser.new_context(**{"viewport": SCREEN, **options})
        context.add_cookies(self._cookies)
        page = context.new_page()
        page.goto(self._stage.url + address)
        if page.locator("#live").count():
            expect(page.locator("html.is-live")).to_be_attached()
        if page.locator("#charts").count():
            expect(page.locator("#charts canvas")).to_have_count(4)
        yield page
        context.close()

    def take(self, name: str, address: str, **options: Any) -> None:
        with self.at(address, **options) as page:
            keep(page, name)


def keep(page: Page | Locator, name: str) -> None:
    """Save `name`.png. Raises ValueError if it is too large for a repository."""
    picture = page.screenshot(animations="disabled", caret="hide")
    if len(picture) > LIMIT_BYTES:
        raise ValueError(f"{name} has {len(picture)} bytes, more than {LIMIT_BYTES}")
    (FOLDER / f"{name}.png").write_bytes(picture)
    print(f"{name}.png {len(picture):,} bytes")


def say(page: Page, text: str, answered: int) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#answered")).to_have_text(str(answered))


def healthy(camera: Camera, stage: Stage, remote: Remote) -> None:
    """Scene: a rollout that goes well."""
    camera.take("overview-empty", "/")
    with stage.clients(CLIENTS), camera.at("/") as page:
        page.wait_for_timeout(LIFE_MS)
        remote.say("start", percentage=10, reason="canary after staging run")
        page.wait_for_timeout(LIFE_MS)
        remote.note("support hears nothing bad")
        page.wait_for_timeout(LIFE_MS)
        camera.take("overview-progressing", "/", viewport=TALL)
        camera.take("overview-progressing-dark", "/", color_scheme="dark")
        camera.take("phone-progressing", "/", viewport=PHONE)
        camera.take("sessions", "/sessions?path=v3")
        camera.take("user", "/users/load-00029")
        camera.take("health", "/health", viewport=ABOVE_SETTINGS)
        camera.take("plan", "/plan")
        stale(camera, stage)
        remote.say("pause", reason="lunch")
        camera.take("overview-paused", "/")


def chat(camera: Camera, stage: Stage, remote: Remote) -> None:
    """Scene: a rollback that somebody watches on a socket of their own."""
    with stage.clients(CLIENTS):
        remote.say("percentage", percentage=100, reason="a drill")
        with camera.at("/try", viewport=CHAT) as page:
            expect(page.locator("#state")).to_contain_text(f"{CLIENTS} v3")
            page.get_by_label("User", exact=True).fill("ada")
            page.get_by_role("button", name="Open a socket").click()
            expect(page.locator("#socket")).to_have_text("open")
            expect(page.locator("#served")).to_contain_text("v3")
            say(page, "which path answers me?", 1)
            say(page, "and now?", 2)
            keep(page, "try-before")
            page.get_by_role("button", name="Roll back").click()
            expect(page.locator("#rollback")).to_contain_text("Verified")
            expect(page.locator("#log")).to_contain_text("Everyone is on v2")
            expect(page.locator("#served")).to_contain_text("v2")
            say(page, "am I still here?", 3)
            keep(page, "try")


def stale(camera: Camera, stage: Stage) -> None:
    """Scene: the page while the service is stopped."""
    with camera.at("/") as page:
        os.kill(stage.pid, signal.SIGSTOP)
        try:
            expect(page.locator("#stale")).to_be_visible()
            keep(page, "overview-stale")
        finally:
            os.kill(stage.pid, signal.SIGCONT)
        expect(page.locator("#stale")).to_be_hidden()


def failing(camera: Camera, stage: Stage, remote: Remote) -> None:
    """Scene: v3 sometimes fails, and somebody rolls back."""
    with stage.clients(CLIENTS), camera.at("/") as page:
        page.wait_for_timeout(LIFE_MS)
        remote.say("start", percentage=25, reason="canary of the new supervisor")
        page.wait_for_timeout(LIFE_MS)
        camera.take("errors", "/errors")
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator("#rollback")).to_contain_text("Verified")
        page.wait_for_timeout(LIFE_MS)
        keep(page.locator("#charts"), "charts")
        camera.take("overview-rolled-back", "/", viewport=TALL)
        camera.take("phone-rolled-back", "/", viewport=PHONE)
        camera.take("history", "/history")
        camera.take("receipt", f"/rollbacks/{remote.view()['last_rollback']['id']}", viewport=TALL)


SCENES = {"healthy": (healthy, {}), "chat": (chat, {}), "failing": (failing, {"faults": FAULTS, "crash_limit": "1000"})}


def main(names: list[str]) -> None:
    """Play the scenes with these names, or all of them."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name in names or SCENES:
            scene, settings = SCENES[name]
            with tempfile.TemporaryDirectory() as folder, staged(Path(folder), environment="demo", **settings) as stage:
                remote = Remote(stage)
                scene(Camera(stage, browser), stage, remote)
                remote.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
