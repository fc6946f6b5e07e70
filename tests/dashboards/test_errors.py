"""Errors: those seen only on v3 stand first and are marked with words."""

from __future__ import annotations

from tests.dashboards.pages import Pages


def test_errors_only_on_v3_are_marked_with_words(pages: Pages) -> None:
    page = pages.get("/errors").text
    assert page.index("only on v3</strong>") < page.index("thread_missing") < page.index("agent_timeout")
    assert page.count("only on v3</strong>") == 1
    assert "38 times, 9 users" in page
    assert "<code>8f2c11</code>" in page
