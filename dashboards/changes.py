"""What an open page hears, whether it is looked at or not: the title, the icon and the severity of the rollout.

A page that is looked at then fetches what it shows. One stream serves all pages of a browser.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from litestar import MediaType, Response, get
from litestar.response import Stream
from msgspec import Struct

from dashboards.base.feed import Feed
from dashboards.base.page import Icon, Tone, title_of
from dashboards.base.places import Place, StreamPlaces
from dashboards.base.visit import TheVisit, Visit
from dashboards.sections.state import state
from rollout.views import RolloutView

STREAM_TICKS = 1800
"""A stream ends after so many messages, which is half an hour when nothing happens, and the browser asks for the next:
so one that nobody reads has an end."""
_FEED = "dashboard_feed"
_PLACES = "dashboard_stream_places"


class Change(Struct, frozen=True):
    """What a page shows without being looked at, and the revision by which it knows that there is more to fetch."""

    revision: int
    title: str
    """Of a window whose page is about the state."""
    icon: Icon
    severity: Tone


def change_of(view: RolloutView) -> Change:
    now = state(view)
    return Change(view.revision, title_of(now.title), now.icon, now.tone)


def _message(view: RolloutView) -> str:
    return f"data: {msgspec.json.encode(change_of(view)).decode()}\n\n"


def feed_of(visit: Visit) -> Feed:
    """The one of this cell."""
    feed: Feed = visit.request.app.state.setdefault(_FEED, Feed(visit.source, _message))
    return feed


def place_for(visit: Visit) -> Place:
    """Raises NoPlace."""
    places: StreamPlaces = visit.request.app.state.setdefault(_PLACES, StreamPlaces())
    headers = visit.request.headers
    # Not the name: a team may share one. What a browser signs in with tells it from the others.
    credentials = f"{headers.get('cookie', '')}\n{headers.get('authorization', '')}"
    return places.take(hashlib.sha256(credentials.encode()).hexdigest(), visit.person.client)


@get("/changes")
async def get_changes(visit: TheVisit) -> Stream:
    """An event stream of `Change`, at least one a second."""
    return Stream(
        _events(visit, feed_of(visit), place_for(visit)),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
        status_code=200,
    )


async def _events(visit: Visit, feed: Feed, place: Place) -> AsyncGenerator[str]:
    """Ends when this person is no longer let in."""
    try:
        async with aclosing(feed.listen()) as messages:
            left = STREAM_TICKS
            async for message in messages:
                if not left or not await visit.source.stays(visit.request):
                    return
                left -= 1
                yield message
    finally:
        place.leave()


@get("/changes/now")
async def get_change(visit: TheVisit) -> Response[Change]:
    """The same for a page that has no stream and asks now and then."""
    return Response(change_of(await visit.source.rollout()), media_type=MediaType.JSON, status_code=200)


ROUTES = (get_changes, get_change)
