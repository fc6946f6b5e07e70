"""What an open page hears, and what it fetches: title and icon at once, then the sections that have changed."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx
import pytest
from litestar.testing import AsyncTestClient

from dashboards import changes
from dashboards.base import feed as feeding
from dashboards.base.feed import Feed
from dashboards.base.places import NoPlace, StreamPlaces
from dashboards.overview import PREVIEWS_S, OverviewPage, Previews
from dashboards.router import SHOWN
from rollout.views import RolloutView
from tests.dashboards.memory import MemorySource, make_app, rollout
from tests.dashboards.pages import Pages


def targets(text: str) -> list[str]:
    return re.findall(r'<hx-partial hx-target="#([\w-]+)"', text)


def phase_of(view: RolloutView) -> str:
    return view.phase


@pytest.fixture
def slow_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what changes is told, and at once."""
    monkeypatch.setattr(feeding, "SPACING_S", 0.0)
    monkeypatch.setattr(feeding, "HEARTBEAT_S", 30.0)


@pytest.mark.usefixtures("slow_heart")
async def test_everybody_hears_a_change_that_is_made_once() -> None:
    made = 0

    def counted(view: RolloutView) -> str:
        nonlocal made
        made += 1
        return view.phase

    source = MemorySource()
    feed = Feed(source, counted)
    async with aclosing(feed.listen()) as one, aclosing(feed.listen()) as other:
        assert [await anext(one), await anext(other)] == ["progressing", "progressing"]
        source.show(rollout("paused"))
        assert [await anext(one), await anext(other)] == ["paused", "paused"]
        assert made == 2
        assert source.listeners == 1


@pytest.mark.usefixtures("slow_heart")
async def test_who_reads_slowly_gets_the_newest_and_nothing_waits_for_them() -> None:
    source = MemorySource()
    feed = Feed(source, phase_of)
    async with aclosing(feed.listen()) as fast, aclosing(feed.listen()) as slow:
        assert await anext(slow) == "progressing"
        for phase in ("paused", "completed", "rolled_back"):
            await anext(fast)
            source.show(rollout(phase))
        while await anext(fast) != "rolled_back":
            pass
        assert await anext(slow) == "rolled_back"


async def test_a_sign_of_life_comes_when_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "SPACING_S", 0.0)
    monkeypatch.setattr(feeding, "HEARTBEAT_S", 0.01)
    async with aclosing(Feed(MemorySource(), phase_of).listen()) as stream:
        assert [await anext(stream) for _ in range(3)] == ["progressing"] * 3


async def test_it_ends_with_the_service() -> None:
    source = MemorySource()
    stream = Feed(source, phase_of).listen()
    await anext(stream)
    source.end()
    assert [text async for text in stream if text != "progressing"] == []
    assert source.listeners == 0


async def test_it_works_only_while_somebody_listens_and_begins_with_what_is_then() -> None:
    source = MemorySource()
    feed = Feed(source, phase_of)
    for phase in ("progressing", "paused"):
        source.show(rollout(phase))
        source.left.clear()
        stream: AsyncGenerator[str] = feed.listen()
        assert await anext(stream) == phase
        assert (source.listeners, feed.listeners) == (1, 1)
        await stream.aclose()
        await source.left.wait()
        assert (source.listeners, feed.listeners) == (0, 0)


async def test_a_message_that_cannot_be_made_ends_the_streams_and_the_next_begins_anew() -> None:
    source, broken = MemorySource(), True

    def message(view: RolloutView) -> str:
        if broken:
            raise ArithmeticError
        return view.phase

    feed = Feed(source, message)
    assert [text async for text in feed.listen()] == []
    broken = False
    async with aclosing(feed.listen()) as stream:
        assert await anext(stream) == "progressing"


async def test_over_http_it_is_an_event_stream_of_title_icon_severity_and_revision() -> None:
    source = MemorySource()
    async with AsyncTestClient(make_app(source)) as client:
        # The test transport answers when the stream is over, so the service stops as soon as it is listened to.
        source.end_at_once = True
        response: httpx.Response = await client.get("/changes")
        source.end_at_once = False
        asked = (await client.get("/changes/now")).json()
    assert response.headers["content-type"].startswith("text/event-stream")
    data = response.text.split("\n\n")[0].removeprefix("data: ")
    assert json.loads(data) == asked
    assert asked == {
        "revision": source.view.revision,
        "title": "● 10 % baking \N{EN DASH} Crossfade",
        "icon": "progressing",
        "severity": "warn",
    }


async def test_a_stream_ends_after_a_while_however_long_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "SPACING_S", 0.0)
    monkeypatch.setattr(feeding, "HEARTBEAT_S", 0.001)
    monkeypatch.setattr(changes, "STREAM_TICKS", 3)
    async with AsyncTestClient(make_app(MemorySource())) as client, asyncio.timeout(10):
        assert (await client.get("/changes")).text.count("data: ") == 3


# -- how many there may be -------------------------------------------------------------------------------------------


def test_a_browser_an_address_and_all_together_have_a_limit_and_places_come_back() -> None:
    places = StreamPlaces(per_browser=2, per_address=3, in_all=4)
    held = [places.take("one", "here") for _ in range(2)]
    with pytest.raises(NoPlace, match="this browser has 2") as refused:
        places.take("one", "here")
    assert refused.value.status == 429
    held.append(places.take("other", "here"))
    with pytest.raises(NoPlace, match="this address has 3"):
        places.take("third", "here")
    held.append(places.take("one", "there"))
    with pytest.raises(NoPlace, match="4 event streams") as full:
        places.take("fourth", "elsewhere")
    assert full.value.status == 503
    held[0].leave()
    held[0].leave()  # once is enough
    assert places.taken == 3
    held.clear()
    gc.collect()
    assert places.taken == 0, "a place that is forgotten is free"
    places.take("one", "here")


async def test_a_refused_stream_is_told_why_and_a_stream_that_ended_leaves_its_place(pages: Pages) -> None:
    state, source = pages.client.app.state, pages.source
    state["dashboard_stream_places"] = places = StreamPlaces(per_browser=1)
    source.end_at_once = True
    for _ in range(3):
        assert pages.get("/changes").status_code == 200
        assert places.taken == 0
    state["dashboard_stream_places"] = StreamPlaces(in_all=0)
    refused = pages.get("/changes")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert "Too many streams" in refused.text


# -- what a page fetches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "fetched", "sections", "shown"),
    [
        ("/", "/sections/overview", list(OverviewPage.sections), "10 % of users on v3"),
        ("/sessions", "/sections/sessions", ["top", "sessions"], "bob/2"),
        ("/users/bob%2F2", "/sections/user?id=bob%2F2", ["top", "user", "sessions"], "bob/2</span> is on v3"),
        ("/users/%20a+b%3F", "/sections/user?id=+a%2Bb%3F", ["top", "user", "sessions"], "> a+b?</span> would be"),
        ("/errors", "/sections/errors", ["top", "errors"], "thread_missing"),
        ("/history", "/sections/history", ["top", "history"], "canary after staging run"),
        ("/rollbacks/r1", "/sections/receipt?id=r1", ["top", "receipt", "errors", "history"], "186 of 186"),
        ("/health", "/sections/health", ["top", "health"], "sqlite answers"),
    ],
)
def test_every_page_fetches_its_own_sections(
    pages: Pages, address: str, fetched: str, sections: list[str], shown: str
) -> None:
    page = pages.get(address).text
    assert re.findall(r'id="sections" hx-get="([^"]+)"', page) == [fetched]
    answer = pages.get(fetched).text
    assert targets(answer) == sections
    assert shown in answer
    for section in sections:
        assert f'id="{section}"' in page, "what is fetched has a place in the page"


def test_a_page_gets_only_the_sections_that_are_not_as_it_has_them(pages: Pages) -> None:
    def fetch(shown: str) -> httpx.Response:
        return pages.client.get("/sections/overview", headers={SHOWN: shown})

    first = fetch("")
    assert targets(first.text) == list(OverviewPage.sections)
    assert fetch(first.headers[SHOWN]).text == ""
    pages.source.audit = []
    second = fetch(first.headers[SHOWN])
    assert targets(second.text) == ["history"]
    assert fetch(second.headers[SHOWN]).text == ""
    assert targets(fetch(first.headers[SHOWN].split()[0]).text) == list(OverviewPage.sections[1:])


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
