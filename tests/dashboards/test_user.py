"""One user: where they are, why, and the form that pins them."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from markupsafe import escape

from rollout.views import UserView
from tests.dashboards.memory import (
    session,
    user_view,
)
from tests.dashboards.pages import Pages


def test_a_user_is_pinned_from_the_list_too(pages: Pages) -> None:
    page = pages.get("/sessions?q=bob").text
    assert re.search(r'<input id="user_id" name="user_id" value="bob/2"', page), "the only one that fits"
    assert re.search(r'<input id="user_id" name="user_id" value=""', pages.get("/sessions").text)
    answer = pages.send("/pins", user_id="", path="v2", reason="")
    assert answer.status_code == 422
    assert 'role="alert">Refused: name a user' in answer.text
    assert pages.source.pins == []


def test_a_user_is_explained_and_pinned(pages: Pages) -> None:
    page = pages.get("/users/bob%2F2").text
    for words in ("bob/2</span> is on v3", "7 of 100", "bucket 7 ≤ 10 %: v3", "pinned to"):
        assert words in page, words
    assert "v3 as long as it is pinned; without the pin v2 below 7 %, v3 from 7 % on" in page
    assert "would be on v3" in pages.get("/users/carol").text
    answer = pages.send("/pins", user_id="bob/2", path="v2", reason="a tester")
    assert (answer.status_code, answer.headers["location"]) == (303, "/users/bob%2F2")
    pages.send("/pins", user_id="bob/2", path="", reason="")
    assert pages.source.pins == [("bob/2", "v2", "a tester"), ("bob/2", None, "")]


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (user_view(bucket=43), ("bucket 43 &gt; 10 %: v2", "v2 below 43 %, v3 from 43 % on")),
        (user_view(bucket=10), ("bucket 10 ≤ 10 %: v3", "v2 below 10 %, v3 from 10 % on")),
        (user_view(bucket=1, percentage=0), ("bucket 1 &gt; 0 %: v2", "v2 below 1 %, v3 from 1 % on")),
        (user_view(path="v2"), ("bucket 7 ≤ 10 %, but the flag&#39;s other conditions keep this user on v2",)),
        (user_view(reason="environment"), ("no percentage changes this while the environment decides; without it",)),
        (
            user_view(path="v2", reason="rolled_back", percentage=0),
            ("Why: a rollback is in force.", "bucket 7 &gt; 0 %"),
        ),
    ],
)
def test_the_arithmetic_of_a_decision_is_shown(pages: Pages, user: UserView, said: tuple[str, ...]) -> None:
    pages.source.somebody = user
    page = pages.get("/users/ada").text
    for words in said:
        assert words in page, words


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "=cmd|' /C calc'!A0"]
)
def test_a_user_id_of_markup_is_text_in_title_address_and_page(pages: Pages, evil: str) -> None:
    pages.source.people = [session(evil)]
    address, shown = f"/users/{quote(evil, safe='')}", str(escape(evil))
    page, listed = pages.get(address).text, pages.get("/sessions").text
    assert f"<title>{shown} " in page
    assert f'<span class="id">{shown}</span>' in page
    assert f'name="user_id" value="{shown}"' in page
    assert f'<a href="{address}">{shown}</a>' in listed
    assert shown == evil or evil not in page + listed
