"""A rollback's receipt: the page, the Markdown and the JSON say the same, and none of them more than was observed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from dashboards.markdown import to_markdown
from rollout.views import ReceiptView
from tests.dashboards.memory import NOW, entry, group, path, receipt, rollout
from tests.dashboards.pages import Pages, open_pages


def receipt_view(**changes: object) -> ReceiptView:
    done = ReceiptView(
        rollback=receipt(at=NOW - 600, verified_at=NOW - 599),
        from_percentage=10,
        users_harmed=9,
        errors_only_on_v3=[group("thread_missing", only=True)],
        figures=[path("v2"), path("v3")],
        timeline=[entry(1, "set 10 %"), entry(2, "rollback", "errors on v3", "guardrail errors")],
    )
    return msgspec.structs.replace(done, **changes)


@pytest.fixture
def pages() -> Iterator[Pages]:
    with open_pages(view=rollout("rolled_back", 0, last_rollback=receipt(at=NOW - 600))) as opened:
        opened.source.done = receipt_view()
        yield opened


def markdown_of(pages: Pages) -> str:
    return pages.get("/rollbacks/r1?format=markdown").text


def json_of(pages: Pages) -> ReceiptView:
    return msgspec.json.decode(pages.get("/rollbacks/r1?format=json").content, type=ReceiptView)


def show(pages: Pages, **changes: object) -> None:
    pages.source.done = receipt_view(rollback=receipt(at=NOW - 600, **changes))


def test_all_three_say_the_same_figures(pages: Pages) -> None:
    assert json_of(pages) == pages.source.done
    page, markdown = pages.text("/rollbacks/r1"), markdown_of(pages)
    for on_page, in_text in (
        (
            "guardrail errors: 9 of 98 users on v3 had a first error; evidence 1,240x",
            "By guardrail errors at 2026-09-21",
        ),
        ("from 10 % of users on v3", "from 10 %: 9 of 98 users on v3 had a first error"),
        ("sessions moved 186 of 186", "sessions moved 186 of 186"),
        ("no new v3 session after 3.1 ms", "no new user on v3 after 3.1 ms"),
        ("last session moved after 41 ms", "open sessions moved after 41 ms"),
        ("sockets closed 0", "closed 0"),
        ("messages interrupted 1", "messages interrupted 1"),
        ("users with an error on v3 9", "users with an error on v3: 9"),
        ("in force in 2 of 2 cells", "cells: a, b"),
        ("thread_missing KeyError in tools 38 times, 9 users", r"thread\_missing KeyError in tools: 38 times, 9 users"),
        ("Error rate v2 0.42 % 257 of 61,204", "| Error rate | 0.42 % 257 of 61,204"),
        ("v3 0.45 % 30 of 6,611", "| 0.45 % 30 of 6,611"),
        ("+0.03 points", "| +0.03 points |"),
        ("Build v2 legacy-41f2 v3 b7c9e21", "| Build | legacy-41f2 | b7c9e21 |"),
        ("guardrail errors (manager) rollback errors on v3", "guardrail errors rollback: errors on v3"),
    ):
        assert on_page in page, on_page
        assert in_text in markdown, in_text


def test_there_is_no_empty_column_of_verdicts(pages: Pages) -> None:
    assert "verdict" not in pages.text("/rollbacks/r1")
    pages.source.view = rollout()
    assert '<th scope="col">verdict</th>' in pages.client.get("/").text


def test_what_is_not_verified_is_not_called_so(pages: Pages) -> None:
    show(
        pages,
        verified_at=None,
        new_stopped_ms=None,
        existing_moved_ms=None,
        sessions_moved=120,
        cells=["a"],
        silent_cells=["b"],
    )
    page, markdown = pages.text("/rollbacks/r1"), markdown_of(pages)
    for said in ("In force in 1 of 2 cells, not verified", "sessions moved 120 of 186", "verified not verified"):
        assert said in page, said
    assert "no new v3 session after not yet known" in page
    assert "- in force, not yet verified; cells that have it: a; waiting for: b" in markdown
    assert "- no new user on v3 after not yet known" in markdown
    assert "verified at" not in markdown
    assert json_of(pages).rollback.verified_at is None


def test_what_would_not_outlast_a_crash_is_said(pages: Pages) -> None:
    show(pages, durable=False, durability="not on disk: no space")
    assert "durable no: not on disk: no space" in pages.text("/rollbacks/r1")
    assert "- not durable: not on disk: no space; a restart of the host would end it" in markdown_of(pages)
    show(pages)
    assert "durable" not in pages.text("/rollbacks/r1") + markdown_of(pages)


def test_a_clock_that_nobody_ran_is_not_still_to_come(pages: Pages) -> None:
    """The command was given to a process that is gone: what it would have measured will never be known."""
    show(pages, new_stopped_ms=None, existing_moved_ms=None)
    assert "no new v3 session after not measured" in pages.text("/rollbacks/r1")
    assert "- open sessions moved after not measured" in markdown_of(pages)


def test_nothing_is_called_none_or_no_data_and_never_zero(pages: Pages) -> None:
    pages.source.done = receipt_view(errors_only_on_v3=[], figures=[], timeline=[])
    markdown = markdown_of(pages)
    assert "## Errors only on v3\n\nnone\n" in markdown
    assert "| Error rate | no data | no data | no data |" in markdown
    assert "## Timeline\n\nno entries\n" in markdown


def test_what_people_wrote_is_text_in_markdown() -> None:
    evil = "<script>\n# [x](javascript:1) | `y` *z*"
    text = to_markdown(receipt_view(rollback=receipt(by=evil, reason=evil), timeline=[entry(1, evil, evil, evil)]))
    shown = r"\<script\> \# \[x\](javascript:1) \| \`y\` \*z\*"
    assert text.count(shown) == 5
    assert "<script>" not in text
    assert len(text.splitlines()) == len(to_markdown(receipt_view(timeline=[entry(1)])).splitlines())


def test_a_receipt_is_a_page_and_markdown_and_json() -> None:
    with open_pages(view=rollout("rolled_back", 0)) as pages:
        page = pages.get("/rollbacks/r1").text
        for words in ("Verified 14:13:19 UTC", "186 of 186", "41 ms", "Errors only on v3", "thread_missing"):
            assert words in page, words
        markdown = pages.get("/rollbacks/r1?format=markdown")
        assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
        assert markdown.text.startswith("# Rollback r1\n")
        assert pages.get("/rollbacks/r1?format=json").json()["rollback"]["sessions_moved"] == 186


@pytest.mark.parametrize(("ago", "live", "until"), [(299, "yes", ""), (300, "no", f"&amp;until={NOW:.0f}")])
def test_charts_of_a_receipt_go_on_for_five_minutes(ago: float, live: str, until: str) -> None:
    with open_pages(view=rollout("rolled_back", 0, last_rollback=receipt(at=NOW - ago))) as pages:
        page = pages.get("/rollbacks/r1").text
        assert f'data-live="{live}"' in page
        assert f'data-series="/api/series?span=15m{until}"' in page


def test_the_overview_leads_to_the_receipt() -> None:
    with open_pages(view=rollout("rolled_back", 0, last_rollback=receipt(id="4-2"))) as pages:
        assert 'href="/rollbacks/4-2"' in pages.get("/").text


def test_a_receipt_that_is_not_there_and_a_store_that_is_away_say_so(pages: Pages) -> None:
    answer = pages.get("/rollbacks/r9")
    assert answer.status_code == 404
    assert "There was no rollback r9." in answer.text
    pages.source.unavailable = True
    answer = pages.get("/rollbacks/r1")
    assert answer.status_code == 503
    assert "The store does not answer" in answer.text
