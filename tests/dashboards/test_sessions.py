"""Open sessions: searched, gone through page by page, and each with its reason."""

from __future__ import annotations

from tests.dashboards.memory import (
    session,
)
from tests.dashboards.pages import Pages


def test_sessions_are_searched_and_each_says_why(pages: Pages) -> None:
    page = pages.get("/sessions?q=bob&path=v3").text
    assert 'href="/users/bob%2F2"' in page
    assert "pinned by a person" in page
    assert "1 of 2 open sessions match" in page
    assert "/users/ada" not in page
    assert 'value="bob"' in page
    assert 'hx-get="/sections/sessions?q=bob&amp;path=v3"' in page
    assert "None of the 2 open sessions matches." in pages.get("/sessions?q=nobody").text


def test_more_sessions_than_a_page_are_gone_through_and_counted(pages: Pages) -> None:
    pages.source.people = [session(f"user {number:03}", connection_id=f"c{number}") for number in range(250)]
    first = pages.get("/sessions").text
    assert "250 open sessions; showing 1 to 100, search to narrow" in first
    assert "First page" not in first
    address = "/sessions?after=c99+user+099"
    assert f'<a href="{address}">Next page</a>' in first
    second = pages.get(address).text
    assert "showing 101 to 200" in second
    assert "user 100" in second
    assert 'href="/sessions">First page' in second
    assert f'hx-get="/sections{address}"' in second
    last = pages.get("/sessions?q=user&after=c199+user+199").text
    assert "250 of 250 open sessions match; showing 201 to 250, search to narrow" in last
    assert "Next page" not in last
    assert 'href="/sessions?q=user">First page' in last
    assert "showing none" in pages.get("/sessions?after=c999+zzz").text
    assert "showing 1 to 100" in pages.get("/sessions?after=nonsense").text
