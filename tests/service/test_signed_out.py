"""A browser and the token it signed in with, over real HTTP: one ends with the other, and open pages end too."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.service.conftest import Running

pytestmark = pytest.mark.slow

SOON_S = 20.0
"""Until a test gives up; what is promised is a second, and the cell's clock decides that in a test of its own."""


@contextmanager
def browser(service: Running, token: str) -> Iterator[httpx.Client]:
    """Somebody who typed this token into the form."""
    with httpx.Client(base_url=service.http.base_url, timeout=SOON_S, trust_env=False) as client:
        sign_in(client, token)
        yield client


def sign_in(client: httpx.Client, token: str) -> None:
    form = re.search(r'name="_csrf_token" value="([0-9a-f]+)"', client.get("/sign-in").text)
    assert form
    answer = client.post("/sign-in/token", data={"_csrf_token": form[1], "token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_revoked_token_takes_its_browsers_and_their_open_pages_along(unchanged: Running) -> None:
    service = unchanged
    tokens = {name: service.crossfade("token", "--role", "viewer", "--name", name).stdout.split()[-1] for name in "ab"}
    with browser(service, tokens["a"]) as gone, browser(service, tokens["b"]) as stays:
        with gone.stream("GET", "/changes") as stream:
            pieces = stream.iter_text()
            assert next(pieces).startswith("data: ")
            revoked_at = time.monotonic()
            assert service.crossfade("token", "--revoke", "a").returncode == 0
            for _ in pieces:
                assert time.monotonic() - revoked_at < SOON_S
        assert gone.get("/api/rollout").status_code == 401
        assert gone.get("/").headers["location"] == "/sign-in"
        assert stays.get("/api/rollout").status_code == 200


def test_a_link_signs_in_a_browser_that_is_listed_and_can_be_put_out(unchanged: Running) -> None:
    service = unchanged
    with httpx.Client(base_url=service.http.base_url, timeout=SOON_S, trust_env=False) as client:
        assert service.use_link(client) == 303
        assert client.get("/api/rollout").status_code == 200
        listed = service.crossfade("token", "--list").stdout
        (session,) = re.findall(r"^(\w+)\s+browser\s+operator\s+manager", listed, re.MULTILINE)
        assert service.crossfade("token", "--revoke", session).returncode == 0
        end = time.monotonic() + SOON_S
        while client.get("/api/rollout").status_code != 401:
            assert time.monotonic() < end
