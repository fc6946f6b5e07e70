"""What a first visit costs in bytes, and that a stream is not held back by a compressor."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import expect

from ops.pictures.stage import Stage
from tests.browser.conftest import Visitor

LIMIT_BYTES = 150_000


@pytest.mark.parametrize("address", ["/", "/try", "/sessions"])
def test_the_first_visit_weighs_little(visitor: Visitor, address: str) -> None:
    page = visitor(address)
    if address == "/":
        expect(page.locator("#charts canvas")).to_have_count(4)
    sizes: dict[str, int] = page.evaluate(
        """() => Object.fromEntries([...performance.getEntriesByType("navigation"),
        ...performance.getEntriesByType("resource")].map(one => [one.name, one.transferSize]))"""
    )
    finished = sizes
    assert len(finished) >= 5
    assert all(size > 0 for size in finished.values()), "nothing came out of a cache"
    assert sum(finished.values()) < LIMIT_BYTES
    plain = page.evaluate("() => performance.getEntriesByType('navigation')[0].decodedBodySize")
    assert finished[page.url] < plain * 0.6, "the page itself came compressed"


def test_a_stream_comes_at_once_and_uncompressed(stage: Stage, cookies: list[dict[str, str]]) -> None:
    jar = {cookie["name"]: cookie["value"] for cookie in cookies}
    headers = {"Accept-Encoding": "gzip", "HX-Request": "true"}
    with (
        httpx.Client(base_url=stage.url, cookies=jar, headers=headers, trust_env=False, timeout=10) as client,
        client.stream("GET", "/changes") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        first = next(answer.iter_text())
    assert first.startswith('data: {"revision":')
