"""Asks the service which of the test's users are on v3, because nothing on the wire says so."""

from __future__ import annotations

import msgspec

from app.loadtest.options import LoadOptions
from app.loadtest.report import CohortShare
from app.proxies import may_use_proxy
from rollout.views import RolloutView, SessionView


def share_of(options: LoadOptions, view: RolloutView, sessions: list[SessionView]) -> CohortShare:
    """The share of this test's users on v3, without pinned users, to whom the percentage does not apply."""
    paths = {
        each.user_id: each.path
        for each in sessions
        if each.user_id.startswith(options.users) and each.reason != "pinned"
    }
    return CohortShare(sum(path == "v3" for path in paths.values()), len(paths), expected_percentage(view))


def expected_percentage(view: RolloutView) -> float:
    """The percentage to expect: 0 under a lock, all or nothing if the environment forces a path."""
    if view.lock is not None or view.forced is False:
        return 0.0
    return 100.0 if view.forced else float(view.percentage)


async def ask_share(url: str, token: str, options: LoadOptions) -> CohortShare | None:
    """Ask the API at `url`; None: it refuses or does not answer."""
    import httpx

    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=may_use_proxy(url)) as client:
            rollout = await client.get("/api/rollout")
            sessions = await client.get("/api/sessions")
            rollout.raise_for_status()
            sessions.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError):  # the last ones: a proxy that is none
        return None
    view = msgspec.json.decode(rollout.content, type=RolloutView)
    return share_of(options, view, msgspec.json.decode(sessions.content, type=list[SessionView]))
