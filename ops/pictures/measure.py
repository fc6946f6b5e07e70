"""The cost of the overview with 10,000 sessions and a day of history, and the speed of its button.

`python -m ops.pictures.measure [SESSIONS]`.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from app.metrics.series import Point, SavedSlots, Slot
from app.store.port import SeriesChunk
from app.store.sql import sqlite_store
from ops.command import title_of
from ops.pictures.stage import Remote, Stage, launch, staged
from rollout.views import AuditEntry

CELL = "a"
CONNECT_S = 240.0
FAULTS = '{"v3": {"latency_ms": 1000}}'
ROUNDS = 40
NICE = 1
RANDOM = random.Random(7)
# When the click came, and when the page said that the rollback is verified, by the page's clock.
WATCH = """() => {
  window.crossfadeSeen = null;
  const button = document.getElementById("rollback-button");
  const click = () => { window.crossfadeClicked = performance.now(); };
  button.addEventListener("click", click, { once: true, capture: true });
  const seen = () => {
    const head = document.querySelector("#rollback .receipt h2");
    if (window.crossfadeClicked && head && head.textContent.startsWith("Verified") && window.crossfadeSeen === null)
      window.crossfadeSeen = performance.now() - window.crossfadeClicked;
  };
  const everything = { subtree: true, childList: true, characterData: true };
  new MutationObserver(seen).observe(document.querySelector(".act"), everything);
}"""


async def fill(data: Path, now: int) -> None:
    """Save a day of figures and 500 entries of history, as a service would have done."""
    store = sqlite_store(data)
    await store.open()
    for step_s, seconds in ((1, 3600), (10, 86_400), (60, 86_400)):
        numbers = range((now - seconds) // step_s, now // step_s)
        chunks = [_chunk(step_s, list(numbers[first : first + 10])) for first in range(0, len(numbers), 10)]
        for first in range(0, len(chunks), 200):
            await store.save_series(chunks[first : first + 200], {})
    for number in range(500):
        place: dict[str, object] = {"phase": "idle", "percentage": 0, "stage": None}
        await store.append_audit(
            AuditEntry(
                id=0, at=now - 86_400 + number * 170, who="ada", role="manager", source="page", what="note",
                reason=f"remark {number}", revision=0, before=place, after=place, figures={"sessions": number},
            )
        )  # fmt: skip
    await store.close()


def _chunk(step_s: int, numbers: list[int]) -> SeriesChunk:
    slots = []
    for number in numbers:
        slots.append(Slot(number, {"v2": _point(), "v3": _point()}))
    return SeriesChunk(CELL, step_s, numbers[-1] * step_s, msgspec.msgpack.encode(SavedSlots(step_s, slots)))


def _point() -> Point:
    """Figures that vary, because constant ones would compress better than real ones."""
    latency_ms = RANDOM.lognormvariate(2, 0.5)
    return Point(
        RANDOM.randrange(500), RANDOM.randrange(3), latency_ms, latency_ms * 4, RANDOM.randrange(4000, 5000),
        RANDOM.uniform(4e4, 5e4), RANDOM.randrange(90_000_000, 95_000_000),
    )  # fmt: skip


def connected(remote: Remote, number: int) -> None:
    """Wait until this many sessions are open. Raises TimeoutError."""
    end = time.monotonic() + CONNECT_S
    while sum(path["sessions"] for path in remote.view()["paths"]) < number:
        if time.monotonic() > end:
            raise TimeoutError(f"not {number} sessions in {CONNECT_S:.0f} s")
        time.sleep(1)


def cost(stage: Stage, cookies: list[Any], address: str) -> str:
    """Time and size of a page, as a client on the same machine measures them."""
    jar = {cookie["name"]: cookie["value"] for cookie in cookies}
    with httpx.Client(base_url=stage.url, cookies=jar, trust_env=False, timeout=30) as client:
        times, sizes = [], (0, 0)
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            answer = client.get(address)
            times.append((time.perf_counter() - begun) * 1000)
            answer.raise_for_status()
            sizes = (len(answer.content), len(gzip.compress(answer.content, 5)))
    ranked = sorted(times)
    return (
        f"{address}: median {statistics.median(times):.1f} ms, worst of {ROUNDS} {ranked[-1]:.0f} ms, "
        f"{sizes[0]:,} bytes, {sizes[1]:,} compressed"
    )


def rolled_back(page: Page, stage: Stage, remote: Remote, note: str) -> str:
    """Click, and wait for the page to say that it is verified."""
    before = next(path for path in remote.view()["paths"] if path["path"] == "v3")["sessions"]
    page.evaluate(WATCH)
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_function("() => window.crossfadeSeen !== null", timeout=60_000)
    taken = page.evaluate("() => window.crossfadeSeen")
    done = remote.view()["last_rollback"]
    return (
        f"click to verified{note}: {taken:.0f} ms in the browser; {before:,} sessions on v3, clocks "
        f"{done['new_stopped_ms']:.0f} and {done['existing_moved_ms']:.0f} ms, closed {done['closed']}, "
        f"interrupted {done['interrupted']}"
    )


def canary(stage: Stage) -> psutil.Process:
    """The worker of v3."""
    children: list[psutil.Process] = psutil.Process(stage.pid).children(recursive=True)  # type: ignore[no-untyped-call]
    for child in children:
        if title_of(child).startswith("crossfade: worker v3 "):
            return child
    raise LookupError("no worker of v3 is found")


def measure(stage: Stage, browser: Browser, number: int) -> None:
    remote = Remote(stage)
    context = browser.new_context()
    page = context.new_page()
    page.goto(stage.link)
    page.get_by_role("button", name="Sign in").click()
    remote.reset(10)
    with stage.clients(number):
        connected(remote, number)
        cookies: list[Any] = list(context.cookies())
        for address in ("/", "/?span=24h", "/api/series?span=15m", "/api/series?span=24h", "/sessions", "/history"):
            print(cost(stage, cookies, address))
        expect(page.locator("html.is-live")).to_be_attached()
        print(rolled_back(page, stage, remote, ""))
        remote.reset(10)
        expect(page.locator("#headline")).to_have_text("10 % of users on v3")
        os.kill(canary(stage).pid, signal.SIGSTOP)
        print(rolled_back(page, stage, remote, ", v3's worker stopped"))
    context.close()
    remote.close()


def main(number: int = 10_000) -> None:
    """Measure with this many sessions, and print the results."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(fill(Path(folder) / "data", int(time.time())))
        with sync_playwright() as playwright:
            play(Path(folder), playwright, number)


def play(folder: Path, playwright: Playwright, number: int) -> None:
    """One service with its clients, and a browser."""
    browser = launch(playwright)
    with staged(folder, faults=FAULTS, crash_limit="1000", worker_nice_v3=str(NICE)) as stage:
        measure(stage, browser, number)
    browser.close()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
