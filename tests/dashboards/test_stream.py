"""What an open page hears: everything once, then only what changed, at once, and a sign of life in between."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import httpx
import pytest
from litestar.testing import AsyncTestClient

from dashboards.base import stream as streaming
from dashboards.base.stream import changed_sections
from dashboards.overview import PREVIEWS_S, OverviewPage, Previews
from tests.dashboards.memory import MemorySource, make_app, rollout


def targets(text: str) -> list[str]:
    return re.findall(r'<hx-partial hx-target="#([\w-]+)"', text)


def stream_of(source: MemorySource) -> AsyncGenerator[str]:
    async def sections() -> Mapping[str, str]:
        return {"state": source.view.phase, "top": source.view.flag}

    return changed_sections(source, sections)


async def test_everything_first_then_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SPACING_S", 0.0)
    monkeypatch.setattr(streaming, "HEARTBEAT_S", 30.0)
    source = MemorySource()
    async with aclosing(stream_of(source)) as stream:
        assert targets(await anext(stream)) == ["state", "top"]
        source.show(rollout("paused"))
        changed = await anext(stream)
        assert targets(changed) == ["state"]
        assert "paused" in changed


async def test_a_sign_of_life_comes_when_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SPACING_S", 0.0)
    monkeypatch.setattr(streaming, "HEARTBEAT_S", 0.01)
    async with aclosing(stream_of(MemorySource())) as stream:
        assert await anext(stream)
        assert await anext(stream) == ""


async def test_the_stream_ends_with_the_service_and_leaves_no_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_S", 30.0)
    source = MemorySource()
    stream = stream_of(source)
    await anext(stream)
    source.end()
    assert [text async for text in stream] == []
    assert source.listeners == 0


async def test_a_page_that_goes_away_leaves_no_listener() -> None:
    source = MemorySource()
    stream = stream_of(source)
    await anext(stream)
    source.show(rollout("paused"))
    await anext(stream)
    assert source.listeners == 1
    await stream.aclose()
    await source.left.wait()
    assert source.listeners == 0


async def test_over_http_it_is_an_event_stream_of_fragments() -> None:
    source = MemorySource()
    async with AsyncTestClient(make_app(source)) as client:
        # The test transport answers when the stream is over, so the service stops as soon as it is listened to.
        source.end_at_once = True
        response: httpx.Response = await client.get("/stream/overview")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert targets(response.text) == list(OverviewPage.sections)
    assert "10 % of users on v3" in response.text


@pytest.mark.parametrize(
    ("address", "stream", "sections", "shown"),
    [
        ("/sessions", "/stream/sessions", ["top", "sessions"], "bob/2"),
        ("/users/bob%2F2", "/stream/user?id=bob%2F2", ["top", "user", "sessions"], "bob/2</span> is on v3"),
        ("/users/%20a+b%3F", "/stream/user?id=+a%2Bb%3F", ["top", "user", "sessions"], "> a+b?</span> would be"),
        ("/errors", "/stream/errors", ["top", "errors"], "thread_missing"),
        ("/history", "/stream/history", ["top", "history"], "canary after staging run"),
        ("/rollbacks/r1", "/stream/receipt?id=r1", ["top", "receipt", "errors", "history"], "186 of 186"),
        ("/health", "/stream/health", ["top", "health"], "sqlite answers"),
    ],
)
async def test_every_page_has_one_stream_of_its_own(address: str, stream: str, sections: list[str], shown: str) -> None:
    source = MemorySource()
    async with AsyncTestClient(make_app(source)) as client:
        page = (await client.get(address)).text
        assert re.findall(r'hx-sse:connect="([^"]+)"', page) == [stream]
        source.end_at_once = True
        told = (await client.get(stream)).text
    assert targets(told) == sections
    assert shown in told
    for section in sections:
        assert f'id="{section}"' in page, "what is told has a place in the page"


async def test_previews_are_kept_for_some_seconds_and_until_a_change() -> None:
    now = 100.0
    source, previews = MemorySource(), Previews(lambda: now)
    await previews.of(source, 1)
    await previews.of(source, 1)
    assert source.previews_asked == 1
    await previews.of(source, 2)
    assert source.previews_asked == 2
    now += PREVIEWS_S
    await previews.of(source, 2)
    assert source.previews_asked == 3
